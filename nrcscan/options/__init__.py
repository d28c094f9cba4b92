"""Every option of a command or a library call, and the words it takes."""
