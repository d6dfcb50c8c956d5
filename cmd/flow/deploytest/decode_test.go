package deploytest

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	keda "github.com/kedacore/keda/v2/apis/keda/v1alpha1"
	apps "k8s.io/api/apps/v1"
	batch "k8s.io/api/batch/v1"
	core "k8s.io/api/core/v1"
	policy "k8s.io/api/policy/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	documents "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"
)

// A manifest is what one golden file holds, by the names of the objects.
type manifest struct {
	configs     map[string]*core.ConfigMap
	claims      map[string]*core.PersistentVolumeClaim
	services    map[string]*core.Service
	deployments map[string]*apps.Deployment
	jobs        map[string]*batch.Job
	budgets     map[string]*policy.PodDisruptionBudget
	scaled      map[string]*keda.ScaledObject

	objects []meta.Object
}

// decode reads all documents of a file. It refuses fields that the types do not have,
// and those that are there twice.
func decode(text []byte) (*manifest, error) {
	m := &manifest{
		configs: map[string]*core.ConfigMap{}, claims: map[string]*core.PersistentVolumeClaim{},
		services: map[string]*core.Service{}, deployments: map[string]*apps.Deployment{}, jobs: map[string]*batch.Job{},
		budgets: map[string]*policy.PodDisruptionBudget{}, scaled: map[string]*keda.ScaledObject{},
	}
	in := documents.NewYAMLReader(bufio.NewReader(bytes.NewReader(text)))
	for n := 1; ; n++ {
		doc, err := in.Read()
		if errors.Is(err, io.EOF) {
			return m, nil
		}
		if err == nil {
			err = m.add(doc)
		}
		if err != nil {
			return nil, fmt.Errorf("document %d: %w", n, err)
		}
	}
}

func (m *manifest) add(doc []byte) error {
	var kind meta.TypeMeta
	if err := yaml.Unmarshal(doc, &kind); err != nil {
		return err
	}
	switch kind.APIVersion + " " + kind.Kind {
	case "v1 ConfigMap":
		return into(m, m.configs, doc)
	case "v1 PersistentVolumeClaim":
		return into(m, m.claims, doc)
	case "v1 Service":
		return into(m, m.services, doc)
	case "apps/v1 Deployment":
		return into(m, m.deployments, doc)
	case "batch/v1 Job":
		return into(m, m.jobs, doc)
	case "policy/v1 PodDisruptionBudget":
		return into(m, m.budgets, doc)
	case "keda.sh/v1alpha1 ScaledObject":
		return into(m, m.scaled, doc)
	}
	return fmt.Errorf("%s %s is not known here", kind.APIVersion, kind.Kind)
}

func into[T any, P interface {
	*T
	meta.Object
}](m *manifest, all map[string]P, doc []byte) error {
	o := P(new(T))
	// As kubectl does: the text is JSON before anything knows which type a field has, so
	// that a name like true is none.
	text, err := yaml.YAMLToJSONStrict(doc)
	if err != nil {
		return err
	}
	in := json.NewDecoder(bytes.NewReader(text))
	in.DisallowUnknownFields()
	if err := in.Decode(o); err != nil {
		return err
	}
	if all[o.GetName()] != nil {
		return fmt.Errorf("there are two %T named %s", o, o.GetName())
	}
	all[o.GetName()] = o
	m.objects = append(m.objects, o)
	return nil
}

// manifests are the golden files of the flow command.
func manifests(t *testing.T) map[string]*manifest {
	t.Helper()
	files, err := filepath.Glob("../testdata/deploy/*.yaml")
	if err != nil || len(files) < 5 {
		t.Fatalf("%d golden files, %v: want more", len(files), err)
	}
	all := map[string]*manifest{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		m, err := decode(text)
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		all[filepath.Base(file)] = m
	}
	return all
}

// What the types do not know is refused, or the other tests would show nothing.
func TestDecodeIsStrict(t *testing.T) {
	for name, doc := range map[string]string{
		"a field that is misspelt":     "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}\nspec: {replica: 1}\n",
		"one that is there twice":      "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {a: b, a: c}\n",
		"a value of another type":      "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: true}\n",
		"a quantity that is none":      "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {name: a}\nspec: {resources: {requests: {storage: much}}}\n",
		"a field that KEDA has not":    "apiVersion: keda.sh/v1alpha1\nkind: ScaledObject\nmetadata: {name: a}\nspec: {minReplicas: 1}\n",
		"a kind that is not expected":  "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\n",
		"two objects of the same name": "apiVersion: v1\nkind: Service\nmetadata: {name: a}\n---\napiVersion: v1\nkind: Service\nmetadata: {name: a}\n",
	} {
		if _, err := decode([]byte(doc)); err == nil {
			t.Errorf("%s is let through", name)
		}
	}
}
