"""`yourai verify`: whether trials, training, estimates and the guard are right on this machine."""
