"""The providers of models; each is one implementation of `linker.ports.Provider`."""
