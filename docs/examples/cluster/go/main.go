// A server that takes the socket which wpm holds, by the protocol of systemd and with nothing but the
// standard library (go-systemd's package activation does the same). At SIGINT it finishes what it has begun.
//
// go build -o server main.go && wpm start ./server -i 4 --listen 8000
package main

import (
	"context"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"syscall"
)

func listener() (net.Listener, error) {
	pid, _ := strconv.Atoi(os.Getenv("LISTEN_PID"))
	count, _ := strconv.Atoi(os.Getenv("LISTEN_FDS"))
	if pid == os.Getpid() && count > 0 {
		return net.FileListener(os.NewFile(3, "listen"))
	}
	return net.Listen("tcp", "127.0.0.1:8000")
}

func main() {
	listener, err := listener()
	if err != nil {
		log.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(answer http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(answer, os.Getenv("WPM_INSTANCE"))
	})}
	end, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	finished := make(chan struct{})
	go func() {
		<-end.Done()
		server.Shutdown(context.Background())
		close(finished)
	}()
	if err := server.Serve(listener); err != http.ErrServerClosed {
		log.Fatal(err)
	}
	<-finished
}
