package destination

import "testing"

func TestOnlyTLSAndThisMachineAreSafe(t *testing.T) {
	for url, safe := range map[string]bool{
		"https://issuer.example": true, "http://localhost:1": true, "http://127.0.0.9": true, "http://[::1]:2": true,
		"http://a.localhost": true, "http://issuer.example": false, "http://localhost.example": false,
		"http://10.0.0.1": false, "ftp://localhost": false, "localhost": false, "": false, "http://127.0.0.1.example": false,
	} {
		if err := CheckURL(url, false); (err == nil) != safe {
			t.Error(url, err)
		}
	}
	if CheckURL("http://issuer.example", true) != nil {
		t.Error("the program allowed it")
	}
}

func TestTargetsOfThisMachine(t *testing.T) {
	for target, loopback := range map[string]bool{
		"localhost:1": true, "127.0.0.1:1": true, "[::1]:1": true, "dns:///localhost:1": true, "unix:/tmp/a": true,
		"passthrough:///127.0.0.1:1": true, "unix:///tmp/a": true, "dns:localhost": true, "ipv4:127.0.0.1:1,127.0.0.2:1": true,
		"inventory:1": false, "dns:///inventory.example:443": false, "dns://localhost/inventory:1": false,
		"ipv4:127.0.0.1:1,10.0.0.1:1": false, "": false, "xds:///localhost.example": false,
	} {
		if IsLoopbackTarget(target) != loopback {
			t.Error(target)
		}
	}
}
