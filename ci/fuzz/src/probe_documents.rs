//! What the probe reads in a pod and prints as JSON.

use probe::{
    Attempt, Facts, FreshProc, IdRange, parse_file_capabilities, parse_id_map, parse_mountinfo,
    parse_status, parse_subordinate_ranges, parse_user_name,
};
use serde::{Serialize, de::DeserializeOwned};

/// Reads an input as each document. No id that was read is beyond the kernel's, and what was read
/// from JSON can be written and read again.
pub fn probe_documents(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    for range in parse_id_map(&text).unwrap_or_default() {
        assert!(range.count > 0);
        assert!(range.inside.checked_add(range.count - 1).is_some());
        assert!(range.outside.checked_add(range.count - 1).is_some());
    }
    for range in parse_subordinate_ranges(&text).ranges {
        assert!(range.count > 0);
        assert!(range.start.checked_add(range.count - 1).is_some());
    }
    for mount in parse_mountinfo(&text).unwrap_or_default() {
        let _ = mount.is_at_or_below("/proc");
    }
    let _ = parse_status(&text);
    let _ = parse_file_capabilities(data);
    if let Some(name) = parse_user_name(&text, 1000) {
        assert!(!name.contains([':', '\n']), "{name:?}");
    }
    round_trip::<Facts>(&text);
    round_trip::<Attempt>(&text);
    round_trip::<FreshProc>(&text);
    round_trip::<IdRange>(&text);
}

fn round_trip<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(text: &str) {
    if let Ok(value) = serde_json::from_str::<T>(text) {
        let written = serde_json::to_string(&value).expect("it is JSON");
        assert_eq!(serde_json::from_str::<T>(&written).expect("it can be read again"), value);
    }
}
