// Command kstatus reads a JSON array of objects and prints what kstatus, by which Flux and Helm
// judge custom resources, computes for each: a JSON array of statuses.
package main

import (
	"encoding/json"
	"log"
	"os"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

func main() {
	var documents []json.RawMessage
	if err := json.NewDecoder(os.Stdin).Decode(&documents); err != nil {
		log.Fatal(err)
	}
	statuses := make([]status.Status, len(documents))
	for i, document := range documents {
		object := &unstructured.Unstructured{}
		if err := object.UnmarshalJSON(document); err != nil {
			log.Fatal(err)
		}
		result, err := status.Compute(object)
		if err != nil {
			log.Fatal(err)
		}
		statuses[i] = result.Status
	}
	if err := json.NewEncoder(os.Stdout).Encode(statuses); err != nil {
		log.Fatal(err)
	}
}
