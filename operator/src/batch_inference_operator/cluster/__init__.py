"""Calls to the API server: the only importer of the kubernetes client.

    api                 what the operator asks of a cluster, as a Protocol, and how it can refuse
    resources           where each kind lives below the server's root
    refusals            HTTP answers -> ClusterError
    connection          address and credentials, in a pod or from a kubeconfig
    kubernetes_client   the Protocol over HTTP
    server_clock        the time as the API server has it
    rights              what the operator's roles must allow
    self_check          what `helm test` asks of a cluster

For `kubectl bij`, which a person waits for and which therefore does without that client:

    kubeconfig          server, user and namespace of a context, as kubectl reads them
    login               credentials for a call, from the kubeconfig or a login program
    user_connection     HTTP with the standard library
    user_calls          what the command asks of a cluster

No decision is taken in here, and no write is tried twice: whoever calls knows whether it is still
worth it. A list begins anew when its pages have expired.
"""
