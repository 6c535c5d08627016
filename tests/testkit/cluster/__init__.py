"""A real Kubernetes for tests: etcd, API server, controllers, kubelets and containerd, no Docker.

Everything runs on this machine as root, in network namespaces of its own, and goes away without a
trace but the cache of what was built. `local.py` is where to begin reading; `provider.py` says what
tests may ask of a cluster, whoever runs it. Nothing in here knows the product under test.
"""
