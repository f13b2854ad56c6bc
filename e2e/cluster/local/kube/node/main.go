// The programs that make pods run on this machine, and reach each other.
package main

import (
	"context"

	"github.com/coredns/coredns/coremain"
	_ "github.com/coredns/coredns/plugin/bind"
	_ "github.com/coredns/coredns/plugin/cache"
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/kubernetes"
	_ "github.com/coredns/coredns/plugin/ready"
	_ "github.com/coredns/coredns/plugin/template"
	"github.com/spf13/cobra"
	_ "k8s.io/component-base/logs/json/register"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
	proxy "k8s.io/kubernetes/cmd/kube-proxy/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"

	"penstock.dev/e2e/kube/dispatch"
)

func main() {
	dispatch.Main(dispatch.Programs{
		"coredns":        coremain.Run,
		"kube-proxy":     dispatch.Server(proxy.NewProxyCommand),
		"kube-scheduler": dispatch.Server(func() *cobra.Command { return scheduler.NewSchedulerCommand() }),
		"kubelet":        dispatch.Server(func() *cobra.Command { return kubelet.NewKubeletCommand(context.Background()) }),
	})
}
