// Package notify tells whoever has started a program that it is ready.
package notify

import (
	"net"
	"os"

	"k8s.io/klog/v2"
)

// Ready tells the socket that NOTIFY_SOCKET names (systemd, sd_notify).
func Ready() {
	socket := os.Getenv("NOTIFY_SOCKET")
	if socket == "" {
		return
	}
	connection, err := net.Dial("unixgram", socket)
	if err == nil {
		defer connection.Close()
		_, err = connection.Write([]byte("READY=1"))
	}
	if err != nil {
		klog.ErrorS(err, "Nobody can be told that the program is ready")
	}
}
