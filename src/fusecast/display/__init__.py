"""How results show themselves in a notebook: short HTML, and the plots that `fusecast.reporting` draws."""
