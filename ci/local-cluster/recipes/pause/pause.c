/* Holds a pod's namespaces open until the runtime asks it to end. */
#include <signal.h>
#include <unistd.h>
static void quit(int signal) { (void)signal; _exit(0); }
int main(void) {
	signal(SIGTERM, quit);
	signal(SIGINT, quit);
	for (;;) pause();
}
