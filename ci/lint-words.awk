# The check of `ci/lint-words`: `words` is the list, `comments` is 1 to check comments of Rust too.

BEGIN {
    FS = "\t"
    while ((getline line < words) > 0) {
        if (line ~ /^#/ || line == "") continue
        count = split(line, field, FS)
        kind = field[1]
        if (count < 2 || (kind !~ /^allow-/ && count < 3)) {
            print words ": a field is missing: " line
            failed = 1
        }
        if (kind ~ /^allow-/) {
            sub(/^allow-/, "", kind)
            allowed[kind] = allowed[kind] (allowed[kind] ? "|" : "") field[2]
        } else {
            total[kind]++
            pattern[kind, total[kind]] = field[2]
            better[kind, total[kind]] = field[3]
            any[kind] = any[kind] (any[kind] ? "|" : "") field[2]
        }
    }
    # In texts a word stands alone: it is no part of a name, a path or a variable of a shell script.
    before["text"] = "[^a-z_$/{-]"
    after["text"] = "[^a-z_=/}-]"
    before["name"] = after["name"] = "_"
}

FNR == 1 {
    is_rust = FILENAME ~ /\.rs$/
    is_help = FILENAME ~ /\/(arguments|cli)\.rs$/
    is_test = FILENAME ~ /(^|\/)tests(\/|\.rs$)/
    in_fence = in_string = in_block = 0
    in_tests = is_test
    tail = above = ""
}

!is_rust {
    if ($0 ~ /^ *```/) { in_fence = !in_fence; next }
    if (in_fence || $0 ~ /^    [^ ]/ && above == "") { next }
    above = $0
    prose(without_code($0))
    next
}

# The format of the reports has fields with old names.
/#\[serde\(.*rename = / { next }

{ rust($0) }

END { exit failed }

function rust(line,    at, token, code, rest) {
    if (line ~ /^#\[cfg\(test\)\]/) in_tests = 1
    code = ""
    rest = line
    if (in_string) sub(/^ +/, "", rest)
    while (rest != "") {
        if (in_string == 1) {
            # The end of a string, or a backslash with what it escapes.
            if (!match(rest, /"|\\./)) { string(rest, 0); rest = ""; break }
            token = substr(rest, RSTART, RLENGTH)
            if (token != "\"") {
                literal = literal substr(rest, 1, RSTART - 1) " "
                rest = substr(rest, RSTART + 2)
                continue
            }
            at = RSTART
            string(substr(rest, 1, at - 1), 1)
            rest = substr(rest, at + 1)
        } else if (in_string == 2) {
            at = index(rest, raw_end)
            if (!at) { string(rest, 0); rest = ""; break }
            string(substr(rest, 1, at - 1), 1)
            rest = substr(rest, at + length(raw_end))
        } else if (in_block) {
            at = index(rest, "*/")
            if (!at) { rest = ""; break }
            in_block = 0
            rest = substr(rest, at + 2)
        } else if (match(rest, /b?r#*"|"|\/\/|\/\*|'(\\.[^']*|[^\\'])'/)) {
            token = substr(rest, RSTART, RLENGTH)
            code = code substr(rest, 1, RSTART - 1) " "
            rest = substr(rest, RSTART + RLENGTH)
            if (token == "//") {
                # Comments about arguments are the help texts of the command.
                if (comments || is_help && rest ~ /^\/ /) prose(without_code(substr(rest, 2)))
                rest = ""
            } else if (token == "/*") {
                in_block = 1
            } else if (token == "\"") {
                in_string = 1
                literal = tail = ""
            } else if (token ~ /"$/) {
                in_string = 2
                literal = tail = ""
                raw_end = token
                sub(/^b?r/, "", raw_end)
                raw_end = "\"" substr(raw_end, 1, length(raw_end) - 1)
            }
        } else {
            code = code rest
            rest = ""
        }
    }
    names(code)
}

# A piece of a string literal: what is on one line of it.
function string(piece, is_last) {
    piece = literal piece
    literal = ""
    sub(/\\$/, "", piece)
    if (!in_tests) prose(without_code(piece))
    if (is_last) { in_string = 0; tail = "" }
}

function without_code(text) {
    gsub(/`[^`]*`/, "`", text)
    gsub(/\]\([^)]*\)/, "]", text)
    return text
}

# Checks a line of prose, and what begins on the line before it.
function prose(text,    from) {
    text = tolower(text)
    gsub(/[ \t]+/, " ", text)
    from = length(tail)
    find("text", " " tail " " text " ", from + 1, "")
    # As many words as a pattern may have.
    tail = text
    if (match(text, /([^ ]+ +){0,5}[^ ]*$/)) tail = substr(text, RSTART)
    if (text ~ /^ *$/) tail = ""
}

function names(code,    name, words) {
    while (match(code, /[A-Za-z_][A-Za-z0-9_]*/)) {
        name = substr(code, RSTART, RLENGTH)
        code = substr(code, RSTART + RLENGTH)
        if (!(name in snake)) {
            words = name
            while (match(words, /[a-z0-9][A-Z]/))
                words = substr(words, 1, RSTART) "_" substr(words, RSTART + 1)
            snake[name] = "_" tolower(words) "_"
        }
        find("name", snake[name], 0, name)
    }
}

# Reports every word to avoid in a text that ends behind `from`.
function find(kind, text, from, shown,    i, begin, rest, word, whole) {
    whole = before[kind] "(" any[kind] ")" after[kind]
    if (text !~ whole) return
    if (allowed[kind]) gsub("(" allowed[kind] ")", "", text)
    for (i = 1; i <= total[kind]; i++) {
        whole = before[kind] "(" pattern[kind, i] ")" after[kind]
        begin = 0
        rest = text
        while (match(rest, whole)) {
            begin += RSTART + RLENGTH - 1
            word = substr(rest, RSTART + 1, RLENGTH - 2)
            if (begin > from + 2 && !((FILENAME, FNR, kind, word) in reported)) {
                reported[FILENAME, FNR, kind, word] = 1
                printf "%s:%d: `%s`: %s\n", FILENAME, FNR, shown ? shown : word, better[kind, i]
                failed = 1
            }
            begin--
            rest = substr(rest, RSTART + RLENGTH - 1)
        }
    }
}
