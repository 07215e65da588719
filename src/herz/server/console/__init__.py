"""The console: the pages of `herz serve`, made on the server from the same objects that the API tells."""
