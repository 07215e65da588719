"""Service discovery: a registry on leases, a cache that follows it, and load balancers over the cache."""

from herz.discovery.balancer import LeastPending, LoadBalancer, RoundRobin, WeightedRoundRobin
from herz.discovery.cache import Freshness, Happened, Says, ServiceCache, ServiceEvent, ServiceSnapshot
from herz.discovery.hashing import ConsistentHash
from herz.discovery.instance import Instance
from herz.discovery.registration import Registration
from herz.discovery.registry import ServiceRegistry
from herz.discovery.standing import Registered, RegistrationEvent, RegistrationHealth

__all__ = [
    "ConsistentHash",
    "Freshness",
    "Happened",
    "Instance",
    "LeastPending",
    "LoadBalancer",
    "Registered",
    "Registration",
    "RegistrationEvent",
    "RegistrationHealth",
    "RoundRobin",
    "Says",
    "ServiceCache",
    "ServiceEvent",
    "ServiceRegistry",
    "ServiceSnapshot",
    "WeightedRoundRobin",
]
