# Runs a Kubernetes API server with its etcd, and the controller that protects claims in use, until its standard input ends.
# usage: sh api_server.sh ASSETS FOLDER ETCD_PORT PEER_PORT API_PORT
# FOLDER is removed in the end. It holds on to nothing that outlives the process which holds the other end of the pipe.
set -u
assets=$1 folder=$2 etcd=http://127.0.0.1:$3 peer=http://127.0.0.1:$4 port=$5
cd "$folder" || exit 1
openssl genrsa -out sa.key 2048 2>openssl.log || exit 1

"$assets/etcd" --data-dir etcd --listen-client-urls "$etcd" --advertise-client-urls "$etcd" \
    --listen-peer-urls "$peer" --initial-advertise-peer-urls "$peer" --initial-cluster "default=$peer" \
    </dev/null >etcd.log 2>&1 &
etcd_pid=$!
"$assets/kube-apiserver" --etcd-servers="$etcd" --service-cluster-ip-range=10.96.0.0/24 --bind-address=127.0.0.1 \
    --secure-port="$port" --insecure-port=0 --cert-dir=certs --service-account-key-file=sa.key \
    --service-account-signing-key-file=sa.key --service-account-issuer=https://kubernetes.default.svc \
    --token-auth-file=tokens.csv --authorization-mode=RBAC --advertise-address=127.0.0.1 \
    --disable-admission-plugins=ServiceAccount --profiling=false </dev/null >kube-apiserver.log 2>&1 &
pids="$etcd_pid $!"

# One line says that the API server is up, which the controllers do not wait for.
if read -r _; then
    "$assets/kube-controller-manager" --kubeconfig=controllers.kubeconfig --controllers=pvc-protection --leader-elect=false \
        --port=0 --secure-port=0 </dev/null >kube-controller-manager.log 2>&1 &
    pids="$pids $!"
    while read -r _; do :; done
fi
# shellcheck disable=SC2086 # a list of process ids
kill -9 $pids 2>/dev/null
wait
rm -rf "$folder"
