package deploy

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/cometmq/cometmq/broker"
	"github.com/cometmq/cometmq/internal/config"
	"github.com/cometmq/cometmq/namesrv"
)

// object is a manifest as far as the tests look at it.
type object struct {
	Kind     string
	Metadata struct {
		Name   string
		Labels map[string]string
	}
	Spec struct {
		ServiceName string `yaml:"serviceName"`
		ClusterIP   string `yaml:"clusterIP"`
		Selector    map[string]any
		Ports       []struct{ Port int }
		Template    struct {
			Metadata struct{ Labels map[string]string }
			Spec     struct {
				Containers []struct {
					Image         string
					Command, Args []string
					Env           []struct{ Name string }
					Ports         []struct {
						Name          string
						ContainerPort int `yaml:"containerPort"`
					}
					ReadinessProbe, LivenessProbe, StartupProbe map[string]any
					VolumeMounts                                []struct{ Name string } `yaml:"volumeMounts"`
					SecurityContext                             struct {
						ReadOnly bool `yaml:"readOnlyRootFilesystem"`
					} `yaml:"securityContext"`
				}
			}
		}
		VolumeClaimTemplates []struct{ Metadata struct{ Name string } } `yaml:"volumeClaimTemplates"`
	}
}

func manifests(t *testing.T) []object {
	t.Helper()
	paths, err := filepath.Glob("kubernetes/*.yaml")
	require.NoError(t, err)
	more, err := filepath.Glob("kubernetes/*/*.yaml")
	require.NoError(t, err)
	paths = append(paths, more...)
	var out []object
	for _, path := range paths {
		if filepath.Base(path) == "kustomization.yaml" {
			continue
		}
		file, err := os.Open(path)
		require.NoError(t, err)
		for d := yaml.NewDecoder(file); ; {
			var o object
			if err := d.Decode(&o); errors.Is(err, io.EOF) {
				break
			} else {
				require.NoError(t, err, path)
			}
			out = append(out, o)
		}
		require.NoError(t, file.Close())
	}
	return out
}

func TestManifestsFitTogether(t *testing.T) {
	all := manifests(t)
	var kinds []string
	for _, o := range all {
		kinds = append(kinds, o.Kind+"/"+o.Metadata.Name)
		if o.Kind != "StatefulSet" {
			continue
		}
		i := slices.IndexFunc(all, func(s object) bool { return s.Kind == "Service" && s.Metadata.Name == o.Spec.ServiceName })
		require.GreaterOrEqual(t, i, 0, "no service %s", o.Spec.ServiceName)
		require.Equal(t, "None", all[i].Spec.ClusterIP)
		for key, value := range all[i].Spec.Selector {
			require.Equal(t, value, o.Spec.Template.Metadata.Labels[key])
		}
		c := o.Spec.Template.Spec.Containers[0]
		require.True(t, c.SecurityContext.ReadOnly)
		require.Equal(t, o.Spec.VolumeClaimTemplates[0].Metadata.Name, c.VolumeMounts[0].Name)
		for _, p := range all[i].Spec.Ports {
			require.True(t, slices.ContainsFunc(c.Ports, func(cp struct {
				Name          string
				ContainerPort int `yaml:"containerPort"`
			}) bool {
				return cp.ContainerPort == p.Port
			}), "%s does not open %d", o.Metadata.Name, p.Port)
		}
	}
	require.ElementsMatch(t, []string{
		"Service/namesrv", "PodDisruptionBudget/namesrv", "StatefulSet/namesrv",
		"Service/broker-a", "Service/broker-a-leader", "PodDisruptionBudget/broker-a", "StatefulSet/broker-a",
		"Service/broker-b", "Service/broker-b-leader", "PodDisruptionBudget/broker-b", "StatefulSet/broker-b",
	}, kinds)
}

// TestBrokerPodsAreAccepted checks each pod's arguments as the program does.
func TestBrokerPodsAreAccepted(t *testing.T) {
	home(t)
	for _, o := range manifests(t) {
		if o.Kind != "StatefulSet" || !strings.HasPrefix(o.Metadata.Name, "broker-") {
			continue
		}
		name := o.Metadata.Name
		c := o.Spec.Template.Spec.Containers[0]
		for _, index := range []string{"0", "1", "2"} {
			var args []string
			for _, a := range c.Args {
				a = strings.NewReplacer("$(POD_INDEX)", index, "$(POD_IP)", "10.1.2.3").Replace(a)
				require.NotContains(t, a, "$(", "a variable that nobody sets")
				key, value, _ := strings.Cut(a, "=")
				args = append(args, key, value)
			}
			flags, err := config.ParseFlags(args)
			require.NoError(t, err)
			set, err := broker.NewSettings()
			require.NoError(t, err)
			warnings, err := set.Load(flags.Values, "args")
			require.NoError(t, err)
			require.Empty(t, warnings)
			require.NoError(t, set.Validate())
			require.Contains(t, set.Current().DLedgerPeers, "n"+index+"-"+name+"-"+index+"."+name+":40911")
			require.Equal(t, name, set.Current().BrokerName)
		}
	}
}

// TestSecondGroupIsTheFirstUnderAnotherName keeps the two files from growing apart.
func TestSecondGroupIsTheFirstUnderAnotherName(t *testing.T) {
	first, err := os.ReadFile("kubernetes/broker-a.yaml")
	require.NoError(t, err)
	const file = "kubernetes/broker-b/broker-b.yaml"
	want := strings.ReplaceAll(string(first), "broker-a", "broker-b")
	if *update {
		require.NoError(t, os.WriteFile(file, []byte(want), 0o644))
	}
	got, err := os.ReadFile(file)
	require.NoError(t, err)
	require.True(t, want == string(got), "%s differs from broker-a.yaml; run: go test ./deploy -update", file)
}

// TestProbesAskTheHTTPPort keeps the manifests and the defaults of the programs
// together.
func TestProbesAskTheHTTPPort(t *testing.T) {
	ports := map[string]int{"mqbroker": broker.DefaultConfig().ExporterPort, "mqnamesrv": namesrv.DefaultConfig().ExporterPort}
	for _, path := range []string{"kubernetes/broker-a.yaml", "kubernetes/broker-b/broker-b.yaml", "kubernetes/namesrv.yaml"} {
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		for _, probe := range []string{"/livez", "/readyz"} {
			require.Equal(t, 1, strings.Count(string(text), "httpGet: {path: "+probe+", port: metrics}"), "%s %s", path, probe)
		}
	}
	found := 0
	for _, o := range manifests(t) {
		for _, c := range o.Spec.Template.Spec.Containers {
			for _, p := range c.Ports {
				if p.Name == "metrics" {
					found++
					require.Equal(t, ports[c.Command[0]], p.ContainerPort, o.Metadata.Name)
				}
			}
		}
	}
	require.Equal(t, 3, found)
	text, err := os.ReadFile("prometheus/prometheus.yml")
	require.NoError(t, err)
	for program, port := range ports {
		require.Contains(t, string(text), fmt.Sprintf("port: %d\n", port), program)
	}
}
