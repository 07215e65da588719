"""For those who write sources, stores and services: contract suites, real servers, and proxies that break things.

* `store_contract`, `store_laws`: what every store must do, as tests.
* `etcd_cluster`, `zookeeper`: real servers that a test may kill, freeze and restore.
* `fault_proxy`, `exchange`: TCP that is cut, delayed, swallowed or refused, at every byte if need be.
* `rpc_proxy`, `rpc_rules`: etcd's messages replayed, reordered, delayed, refused, changed.
* `browser`: Chromium for pages, which notices what goes wrong in them.
* `certificates`: an authority and what it issues, expired certificates included.

Nothing is imported with this package; name the module that you need.
"""
