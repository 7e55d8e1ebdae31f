package policy

import (
	"errors"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"

	authv1 "m2m.example/go/m2m/auth/v1"
)

// OfService reads the policy of each method of a service from its annotations.
func OfService(service protoreflect.ServiceDescriptor) ([]Method, error) {
	name := string(service.FullName())
	audience, fallback, faults := name, Method{}, []error{}
	declared, err := serviceOption(service)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	faults = append(faults, allKnown(declared, name))
	if declared.GetAudience() != "" {
		audience = declared.GetAudience()
	}
	if declared.GetDefaultRequirement() != nil {
		requirement, err := requirementOf(declared.GetDefaultRequirement(), name)
		faults = append(faults, err)
		fallback = Method{Access: Token, Requirement: requirement}
	}
	var methods []Method
	for i := range service.Methods().Len() {
		descriptor := service.Methods().Get(i)
		method, err := ofMethod(descriptor, fallback)
		faults = append(faults, err)
		method.Path = fmt.Sprintf("/%s/%s", name, descriptor.Name())
		method.Audience = audience
		method.ClientStreaming = descriptor.IsStreamingClient()
		method.ServerStreaming = descriptor.IsStreamingServer()
		methods = append(methods, method)
	}
	return methods, errors.Join(faults...)
}

// ofMethod returns the policy of the method's own option, which replaces the service's, or else fallback.
func ofMethod(method protoreflect.MethodDescriptor, fallback Method) (Method, error) {
	option, err := methodOption(method)
	name := method.FullName()
	if err != nil {
		return Method{}, fmt.Errorf("%s: %w", name, err)
	}
	if err := allKnown(option, string(name)); err != nil {
		return Method{}, err
	}
	switch {
	case option == nil:
		return fallback, nil
	case option.GetRequire() != nil && option.GetPublic():
		return Method{}, fmt.Errorf("%s: is both public and requires a token: declare one of the two", name)
	case option.GetIdentify() && !option.GetPublic():
		return Method{}, fmt.Errorf("%s: identify is for public methods: declare public, and not require", name)
	case option.GetRequire() != nil:
		requirement, err := requirementOf(option.GetRequire(), string(name))
		return Method{Access: Token, Requirement: requirement}, err
	case option.GetIdentify():
		return Method{Access: Identify}, nil
	case option.GetPublic():
		return Method{Access: Public}, nil
	default:
		return Method{}, nil
	}
}

// allKnown returns an error if an annotation has fields that this version does not know. They may demand more
// of a token.
func allKnown(annotation proto.Message, owner string) error {
	unknown := unknownField(annotation.ProtoReflect())
	if unknown == 0 {
		return nil
	}
	return fmt.Errorf("%s: the annotation has the field number %d, which this version of the module does not know",
		owner, unknown)
}

// unknownField returns the number of an unknown field of the message or of one in it, or 0.
func unknownField(message protoreflect.Message) (number protowire.Number) {
	if unknown := message.GetUnknown(); len(unknown) > 0 {
		number, _, _ = protowire.ConsumeTag(unknown)
		return number
	}
	message.Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		switch {
		case field.Message() == nil:
		case field.IsList():
			for i := 0; i < value.List().Len() && number == 0; i++ {
				number = unknownField(value.List().Get(i).Message())
			}
		default:
			number = unknownField(value.Message())
		}
		return number == 0
	})
	return number
}

func requirementOf(message *authv1.Requirement, owner string) (Requirement, error) {
	requirement := Requirement{
		AllScopes:           message.GetAllScopes(),
		AnyScopes:           message.GetAnyScopes(),
		Callers:             message.GetCallers(),
		HasMaxTokenAge:      message.GetMaxTokenAge() != nil,
		StreamOutlivesToken: message.GetStreamExpiry() == authv1.StreamExpiry_STREAM_EXPIRY_ALLOW,
	}
	for _, claim := range message.GetClaims() {
		requirement.Claims = append(requirement.Claims, Claim{Name: claim.GetClaim(), Values: claim.GetValues()})
	}
	if requirement.HasMaxTokenAge {
		requirement.MaxTokenAge = message.GetMaxTokenAge().AsDuration()
		if requirement.MaxTokenAge < 0 {
			return requirement, fmt.Errorf("%s: max_token_age is negative", owner)
		}
	}
	return requirement, requirement.check(owner)
}

func serviceOption(service protoreflect.ServiceDescriptor) (*authv1.ServiceAuthorization, error) {
	var options descriptorpb.ServiceOptions
	if err := again(service.Options(), &options); err != nil {
		return nil, err
	}
	declared, _ := proto.GetExtension(&options, authv1.E_Service).(*authv1.ServiceAuthorization)
	return declared, nil
}

// methodOption returns nil for a method without the option.
func methodOption(method protoreflect.MethodDescriptor) (*authv1.MethodAuthorization, error) {
	var options descriptorpb.MethodOptions
	if err := again(method.Options(), &options); err != nil {
		return nil, err
	}
	if !proto.HasExtension(&options, authv1.E_Method) {
		return nil, nil
	}
	declared, _ := proto.GetExtension(&options, authv1.E_Method).(*authv1.MethodAuthorization)
	return declared, nil
}

// again decodes options once more. They may come from a file that was decoded without these annotations, and
// hold them as unknown bytes.
func again(options, into proto.Message) error {
	encoded, err := proto.Marshal(options)
	if err != nil {
		return err
	}
	return proto.Unmarshal(encoded, into)
}
