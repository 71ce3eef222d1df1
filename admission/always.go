package admission

import "context"

// alwaysAdmit says yes. Configurations of old name it.
func alwaysAdmit() Plugin {
	return Plugin{Operations: []Operation{Create, Update, Delete, Connect}}
}

// alwaysDeny says no to every write and every connection to a pod, node or service.
func alwaysDeny() Plugin {
	deny := func(_ context.Context, a *Attributes) error {
		return a.forbid("admission control is denying all modifications")
	}
	return Plugin{Operations: []Operation{Create, Update, Delete, Connect}, Mutate: deny, Validate: deny}
}
