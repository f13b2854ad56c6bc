// Package dispatch runs one of several programs that share a binary: the one the binary was called by.
package dispatch

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/component-base/cli"
)

// Programs by the name they are called by. None of them returns before it has ended.
type Programs map[string]func()

// Server is a program that Kubernetes defines as a command.
func Server(command func() *cobra.Command) func() {
	return func() { os.Exit(cli.Run(command())) }
}

// Main runs the program that the binary's own name (a link to it) says, else the one its first argument says.
func Main(programs Programs) {
	name := filepath.Base(os.Args[0])
	if programs[name] == nil && len(os.Args) > 1 {
		os.Args = os.Args[1:]
		name = os.Args[0]
	}
	program := programs[name]
	if program == nil {
		known := strings.Join(slices.Sorted(maps.Keys(programs)), ", ")
		fmt.Fprintf(os.Stderr, "%s: not a program of this binary. It has: %s\n", name, known)
		os.Exit(2)
	}
	program()
}
