"""The engines that map over the blocks of files: in this process, in local processes, or on a cluster."""
