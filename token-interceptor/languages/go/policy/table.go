package policy

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
)

// health is the service that load balancers and Kubernetes call without a token.
const health = "/grpc.health.v1.Health/"

// Table maps the path of a method to its policy. Paths are compared byte for byte.
//
// It is immutable and safe for concurrent use.
type Table struct {
	methods map[string]Method
}

// Error is the error of a policy that cannot be enforced. It names every fault.
type Error struct {
	// Faults are the faults, each with its method.
	Faults []string
}

func (e *Error) Error() string { return "the policy does not fit: " + strings.Join(e.Faults, "; ") }

// OrNil returns e as an error, or nil if there is no fault.
func (e *Error) OrNil() error {
	if len(e.Faults) == 0 {
		return nil
	}
	slices.Sort(e.Faults)
	e.Faults = slices.Compact(e.Faults)
	return e
}

// Linked returns the policy of services in the program's own descriptors: those that generated code links in.
// services are full names, such as inventory.v1.InventoryService. open are the paths of methods that are
// public in spite of their annotation, or of its absence.
//
// It fails if a service is unknown, a method has no policy, or an annotation contradicts itself. It also
// fails if open names no method of the services. Health checks (grpc.health.v1) are public unless annotated.
func Linked(services, open []string) (*Table, error) {
	return Of(protoregistry.GlobalFiles, services, open)
}

// Of returns the policy of services, as Linked, from other descriptors.
func Of(files *protoregistry.Files, services, open []string) (*Table, error) {
	table, faults := Table{methods: map[string]Method{}}, Error{}
	for _, name := range []string{"Check", "List", "Watch"} {
		table.methods[health+name] = Method{Path: health + name, Access: Public, ServerStreaming: name == "Watch"}
	}
	for _, name := range services {
		found, err := files.FindDescriptorByName(protoreflect.FullName(name))
		service, ok := found.(protoreflect.ServiceDescriptor)
		if err != nil || !ok {
			faults.Faults = append(faults.Faults, name+": no linked-in descriptor describes this service")
			continue
		}
		methods, err := OfService(service)
		if err != nil {
			faults.Faults = append(faults.Faults, strings.Split(err.Error(), "\n")...)
		}
		for _, method := range methods {
			if method.Access == Undeclared && (slices.Contains(open, method.Path) || strings.HasPrefix(method.Path, health)) {
				method.Access = Public
			}
			if method.Access == Undeclared && err == nil {
				faults.Faults = append(faults.Faults, method.Path+": is served without a policy")
			}
			table.methods[method.Path] = method
		}
	}
	for _, path := range open {
		method, known := table.methods[path]
		if !known {
			faults.Faults = append(faults.Faults, path+": has a policy, but there is no such method")
			continue
		}
		method.Access = Public
		table.methods[path] = method
	}
	return &table, faults.OrNil()
}

// CheckCallers returns an error if a method names callers although a client ID alone does not identify the
// caller: several issuers issue tokens for its audience.
func (t *Table) CheckCallers(unique func(audience string) bool) error {
	var faults Error
	for _, method := range t.Methods() {
		if method.Access == Token && len(method.Requirement.Callers) > 0 && !unique(method.Audience) {
			faults.Faults = append(faults.Faults, fmt.Sprintf(
				"%s: names callers, and several issuers speak for %q: give each TrustedIssuer its Clients",
				method.Path, method.Audience))
		}
	}
	return faults.OrNil()
}

// Lookup returns the policy of the method at path. It returns false for a method without one.
func (t *Table) Lookup(path string) (Method, bool) {
	method, known := t.methods[path]
	return method, known && method.Access != Undeclared
}

// Methods returns every method, sorted by path.
func (t *Table) Methods() []Method {
	methods := slices.Collect(maps.Values(t.methods))
	slices.SortFunc(methods, func(a, b Method) int { return strings.Compare(a.Path, b.Path) })
	return methods
}

// Directory finds the policy of any method in descriptors, for the client side. A client need not name the
// services that it calls.
//
// It is safe for concurrent use.
type Directory struct {
	files    *protoregistry.Files
	services sync.Map // full name to map[string]Method
}

// NewDirectory returns a directory of the methods in files.
func NewDirectory(files *protoregistry.Files) *Directory { return &Directory{files: files} }

// Lookup returns the policy of the method at path. It returns false if the method is not described, is not
// annotated, or its annotations contradict themselves.
func (d *Directory) Lookup(path string) (Method, bool) {
	service, _, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	methods, known := d.services.Load(service)
	if !known {
		found, described := d.read(service)
		if !described {
			return Method{}, false
		}
		methods, _ = d.services.LoadOrStore(service, found)
	}
	method, declared := methods.(map[string]Method)[path]
	return method, declared && method.Access != Undeclared
}

// Paths returns the paths that a pattern names: a path, or a prefix and a final "*".
func (d *Directory) Paths(pattern string) []string {
	var paths []string
	d.files.RangeFiles(func(file protoreflect.FileDescriptor) bool {
		for i := range file.Services().Len() {
			service := file.Services().Get(i)
			for j := range service.Methods().Len() {
				path := fmt.Sprintf("/%s/%s", service.FullName(), service.Methods().Get(j).Name())
				if Matches(pattern, path) {
					paths = append(paths, path)
				}
			}
		}
		return true
	})
	slices.Sort(paths)
	return paths
}

func (d *Directory) read(name string) (map[string]Method, bool) {
	found, err := d.files.FindDescriptorByName(protoreflect.FullName(name))
	service, ok := found.(protoreflect.ServiceDescriptor)
	if err != nil || !ok {
		return nil, false
	}
	declared, err := OfService(service)
	methods := map[string]Method{}
	for _, method := range declared {
		if err == nil {
			methods[method.Path] = method
		}
	}
	return methods, true
}
