"""One file a method, named as the catalog names it (with _ for -)."""
