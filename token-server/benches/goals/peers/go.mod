module bench/peers

go 1.23

// As Hydra's own go.mod has it; a replacement does not reach those who depend on it.
replace github.com/gobuffalo/pop/v6 => github.com/ory/pop/v6 v6.2.1-0.20241121111754-e5dfc0f3344b
