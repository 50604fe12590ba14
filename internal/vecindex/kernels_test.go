package vecindex

import (
	"bytes"
	"debug/elf"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// kernelSets are the values of VECTORSTORE_SIMD, and the CPU flags of
// /proc/cpuinfo that each needs.
var kernelSets = map[string][]string{
	"avx512":   {"avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512_vnni"},
	"avx2":     {"avx2", "fma", "f16c"},
	"baseline": nil,
}

func cpuFlags(t *testing.T) map[string]bool {
	t.Helper()
	info, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		t.Fatal(err)
	}
	flags := map[string]bool{}
	for line := range strings.Lines(string(info)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "flags" {
			for _, f := range strings.Fields(value) {
				flags[f] = true
			}
			break
		}
	}
	return flags
}

// compileKernelTest builds native/test/kernels_test.cpp against the installed
// library, as cgo finds it.
func compileKernelTest(t *testing.T) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "kernels_test")
	args := []string{"-std=c++17", "-O1", "-fopenmp", "-I../../native/src", "-o", program,
		"../../native/test/kernels_test.cpp"}
	// What the library needs, such as -lubsan, comes behind it.
	args = append(append(args, "-lfaiss_c"), strings.Fields(os.Getenv("CGO_LDFLAGS"))...)
	out, err := exec.Command("g++", args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return program
}

func TestEveryKernelAgreesWithTheScalarReferenceOnEveryInstructionSet(t *testing.T) {
	program := compileKernelTest(t)
	flags := cpuFlags(t)
	for set, needs := range kernelSets {
		supported := true
		for _, f := range needs {
			supported = supported && flags[f]
		}
		if !supported {
			t.Logf("%s: not on this CPU", set)
			continue
		}
		t.Run(set, func(t *testing.T) {
			cmd := exec.Command(program)
			cmd.Env = append(os.Environ(), "VECTORSTORE_SIMD="+set)
			var stderr bytes.Buffer
			cmd.Stderr = &stderr
			out, err := cmd.Output()
			if err != nil {
				t.Fatalf("%v\n%s", err, &stderr)
			}
			var name string
			var compared int
			if _, err := fmt.Sscan(string(out), &name, &compared); err != nil {
				t.Fatalf("%v: %q", err, out)
			}
			if name != set {
				t.Errorf("ran the kernels of %s", name)
			}
			if compared < 700_000 {
				t.Errorf("only %d comparisons", compared)
			}
		})
	}
}

func TestFAISSLinksNoDistanceCodeOfItsOwn(t *testing.T) {
	f, err := elf.Open(compileKernelTest(t))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	symbols, err := f.Symbols()
	if err != nil {
		t.Fatal(err)
	}
	ours := false
	for _, s := range symbols {
		ours = ours || strings.Contains(s.Name, "avx512_kernels")
		// Defined in FAISS's distances_simd.o and nowhere else.
		if strings.Contains(s.Name, "fvec_inner_product_ref") {
			t.Errorf("the scalar code of FAISS is linked: %s", s.Name)
		}
	}
	if !ours {
		t.Error("the kernels are not linked")
	}
}
