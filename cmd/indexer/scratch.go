package main

import "os"

// commandScratch is a folder of its own: a command never keeps the running indexer from its.
const commandScratch = "commands"

// scratch makes a folder for a command under the local directory, not the system's: what a command that was killed leaves
// there goes with the next command, and before a purge is asked for.
func (a *app) scratch(command string) (dir string, release func(), err error) {
	base, unlock, err := a.store.Scratch(commandScratch)
	if err != nil {
		return "", nil, usage(err)
	}
	if dir, err = os.MkdirTemp(base, command+"-*"); err != nil {
		unlock()
		return "", nil, err
	}
	return dir, func() {
		_ = os.RemoveAll(dir)
		unlock()
	}, nil
}
