"""The local platform: the processes that `raypipe up` starts, watches and ends."""
