"""Where batch norms are: prefilter, names and scopes, project index, sites."""
