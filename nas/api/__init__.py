"""HTTP: the use cases of `nas.service`, for programs that are not on this machine."""
