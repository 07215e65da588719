"""etcd as a store: its messages, the connection, and the store on top. Needs the extra `etcd`."""
