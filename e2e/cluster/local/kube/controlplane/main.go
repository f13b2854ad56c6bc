// The programs that are a Kubernetes without machines: objects can be stored, watched, checked and owned, nothing runs.
//
// They are a binary of their own because most tests need no more than these, and it builds in half the time.
package main

import (
	"os"
	_ "time/tzdata" // schedules name time zones, and small machines have no list of them

	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
	kubectl "k8s.io/kubectl/pkg/cmd"
	"k8s.io/kubectl/pkg/cmd/util"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllers "k8s.io/kubernetes/cmd/kube-controller-manager/app"

	"penstock.dev/e2e/kube/dispatch"
)

func main() {
	dispatch.Main(dispatch.Programs{
		"certificates":            certificates,
		"etcd":                    func() { etcdmain.Main(os.Args) },
		"kube-apiserver":          dispatch.Server(apiserver.NewAPIServerCommand),
		"kube-controller-manager": dispatch.Server(controllers.NewControllerManagerCommand),
		"kubectl":                 runKubectl,
	})
}

func runKubectl() {
	if err := cli.RunNoErrOutput(kubectl.NewDefaultKubectlCommand()); err != nil {
		util.CheckErr(err)
	}
}
