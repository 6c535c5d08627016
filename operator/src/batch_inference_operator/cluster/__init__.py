"""Calls to the API server: the only importer of the kubernetes client.

    api                 what the operator asks of a cluster, as a Protocol, and how it can refuse
    resources           where each kind lives below the server's root
    refusals            HTTP answers -> ClusterError
    connection          address and credentials, in a pod or from a kubeconfig
    kubernetes_client   the Protocol over HTTP

No decision is taken in here, and nothing is tried twice: whoever calls knows whether it is still
worth it.
"""
