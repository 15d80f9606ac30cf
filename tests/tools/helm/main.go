// helm CHART [VALUES.yaml]: prints what a chart makes, by Helm's own packages, without a cluster.
package main

import (
	"fmt"
	"os"
	"sort"
	"strings"

	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
)

func main() {
	made, err := render(os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	names := []string{}
	for name := range made {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		if text := strings.TrimSpace(made[name]); text != "" {
			fmt.Printf("---\n%s\n", text)
		}
	}
}

func render(args []string) (map[string]string, error) {
	chart, err := loader.Load(args[0])
	if err != nil {
		return nil, err
	}
	if err := chart.Validate(); err != nil {
		return nil, err
	}
	values := map[string]interface{}{}
	if len(args) > 1 {
		if values, err = chartutil.ReadValuesFile(args[1]); err != nil {
			return nil, err
		}
	}
	options := chartutil.ReleaseOptions{Name: "gateway", Namespace: "default", Revision: 1, IsInstall: true}
	// This holds the values against the chart's schema too.
	all, err := chartutil.ToRenderValues(chart, values, options, nil)
	if err != nil {
		return nil, err
	}
	strict := engine.Engine{Strict: true}
	return strict.Render(chart, all)
}
