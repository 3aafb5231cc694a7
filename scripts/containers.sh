# shellcheck shell=bash
# What the scripts share that run nodes in containers. Sourced after lib.sh, not run.
#
# Everything that is made here carries the label map-reduce.cluster=NAME, and only what carries
# it is ever stopped or removed.
#
#   MR_IMAGE=map-reduce                    the image's name
#   MR_PYTHON_IMAGE=python:X.Y-slim        what it is built on (default: the Python of this machine)
#   MR_NETWORK=distributed                 the network, made where it is missing, with
#   MR_SUBNET=172.18.0.0/16 MR_IP_RANGE=172.18.1.0/25 MR_GATEWAY=172.18.1.254
#   MR_NODE_PORT=9000                      the port of every node
#   MR_CONTAINERS_FOLDER=...               where certificates are kept (default: in the state folder)
#   MR_BUILD_OPTIONS=... MR_RUN_OPTIONS=...   further options of docker build and docker create
#   DOCKER=docker                          the client's command

DOCKER=${DOCKER:-docker}
IMAGE=${MR_IMAGE:-map-reduce}
NETWORK=${MR_NETWORK:-distributed}
SUBNET=${MR_SUBNET:-172.18.0.0/16}
IP_RANGE=${MR_IP_RANGE:-172.18.1.0/25}
GATEWAY=${MR_GATEWAY:-172.18.1.254}
NODE_PORT=${MR_NODE_PORT:-9000}
STATE_FOLDER=${XDG_STATE_HOME:-$HOME/.local/state}/map-reduce
FOLDER=${MR_CONTAINERS_FOLDER:-$STATE_FOLDER/containers}
LABEL=map-reduce.cluster
STOP_S_MAX=30
NODES_MAX=200

# Settings of the scripts, which mean nothing inside a container.
OURS='MR_IMAGE|MR_PYTHON_IMAGE|MR_NETWORK|MR_SUBNET|MR_IP_RANGE|MR_GATEWAY|MR_NODE_PORT|MR_CONTAINERS_FOLDER|MR_BUILD_OPTIONS|MR_RUN_OPTIONS|MR_CLUSTER_ID|MR_HOST|MR_PORT|MR_CERTS_FOLDER|MR_DATA_FOLDER'

usage() { sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"; }

docker_quietly() { "$DOCKER" "$@" >/dev/null 2>&1; }

# Ends with a message that says what to do, unless an engine answers.
need_engine() {
    local told
    command -v "$DOCKER" >/dev/null ||
        fail "there is no command '$DOCKER'. Install Docker, or name another client by DOCKER=..."
    if ! told=$("$DOCKER" version --format '{{.Server.Version}}' 2>&1); then
        fail "no Docker engine answers ($(printf '%s' "$told" | tail -n 1))." \
            "Start it (systemctl start docker, or Docker Desktop), or run without containers:" \
            "map-reduce cluster --nodes 3"
    fi
}

check_name() {
    case $1 in
        '' | *[!a-z0-9-]* | -*) fail "'$1' is no name of a cluster; use a-z, 0-9 and '-'" ;;
    esac
}

check_count() {
    case $1 in
        '' | *[!0-9]* | 0*) fail "'$1' is no number of nodes; use 1 to $NODES_MAX" ;;
    esac
    [ "$1" -le "$NODES_MAX" ] || fail "$1 nodes are too many for one machine; use 1 to $NODES_MAX"
}

container_of() { printf 'map-reduce-%s-%d' "$1" "$2"; }

# Names of the cluster's containers, running or not, in order: containers_of NAME [filters...]
containers_of() {
    local name=$1
    shift
    "$DOCKER" ps --all --filter "label=$LABEL=$name" "$@" --format '{{.Names}}' | sort -V
}

# The network, or a message that says who has its subnet.
make_network() {
    local found log
    if found=$("$DOCKER" network inspect --format \
        '{{range .IPAM.Config}}{{.Subnet}} {{end}}' "$NETWORK" 2>/dev/null); then
        case " $found" in
            *" $SUBNET "*) return ;;
        esac
        fail "the network '$NETWORK' is there already, with the subnet ${found:-unknown}and not" \
            "$SUBNET. Remove it (docker network rm $NETWORK), or name another by MR_NETWORK=..." \
            "or the same subnet by MR_SUBNET=, MR_IP_RANGE= and MR_GATEWAY="
    fi
    say "Making the network $NETWORK ($SUBNET)"
    if ! log=$("$DOCKER" network create --driver bridge --subnet "$SUBNET" --ip-range "$IP_RANGE" \
        --gateway "$GATEWAY" --label "$LABEL=network" "$NETWORK" 2>&1); then
        fail "the network $NETWORK could not be made: $(printf '%s' "$log" | tail -n 1)." \
            "Where the subnet is in use, name another, as in: MR_SUBNET=172.28.0.0/16" \
            "MR_IP_RANGE=172.28.1.0/25 MR_GATEWAY=172.28.1.254 $0 ..."
    fi
}

# The first COUNT addresses of the range that nobody has: free_addresses COUNT
free_addresses() {
    local taken
    taken=$("$DOCKER" network inspect --format \
        '{{range .Containers}}{{.IPv4Address}} {{end}}' "$NETWORK")
    "$VENV_PYTHON" -c '
import ipaddress, itertools, sys

count, wanted, gateway, *taken = sys.argv[1:]
used = {ipaddress.ip_interface(text).ip for text in taken} | {ipaddress.ip_address(gateway)}
free = (one for one in ipaddress.ip_network(wanted).hosts() if one not in used)
found = list(itertools.islice(free, int(count)))
if len(found) < int(count):
    sys.exit(f"{wanted} has room for {len(found)} more containers, not for {count}")
print(*found)
' "$1" "$IP_RANGE" "$GATEWAY" $taken || exit 1
}

build_image() {
    local python=${MR_PYTHON_IMAGE:-}
    if [ -z "$python" ]; then
        python=python:$("$VENV_PYTHON" -c 'import sys; print("%d.%d" % sys.version_info[:2])')-slim
    fi
    mkdir -p "$FOLDER"
    say "Building the image $IMAGE on $python"
    if ! "$DOCKER" build ${MR_BUILD_OPTIONS:-} --build-arg PYTHON_IMAGE="$python" \
        --tag "$IMAGE" "$ROOT" >"$FOLDER/build.log" 2>&1; then
        tail -n 15 "$FOLDER/build.log" | mask_addresses >&2
        fail "the image could not be built (the whole log: $FOLDER/build.log). Building needs the" \
            "network; an image that is there already is used with --no-build"
    fi
}

# Settings of this shell that nodes are to have too, as arguments of docker create.
environment_options() {
    local setting
    while IFS= read -r -d '' setting; do
        printf -- '--env\0%s\0' "$setting"
    done < <(env -0 | grep -zE '^MR_[A-Z_]+=' | grep -zvE "^($OURS)=" || true)
}

# Puts a folder of certificates into a container that does not run yet, as the user of the image.
give_certificates() {
    local container=$1 folder=$2
    tar -C "$folder" --owner=1000 --group=1000 --numeric-owner -c . |
        "$DOCKER" cp - "$container:/certs" >/dev/null
}

# Makes the certificates of nodes anew, and the client's where it is asked for, by one process, and
# the cluster's authority where it is missing: issue_certificates NAME [client] [NUMBER ADDRESS]...
issue_certificates() {
    mkdir -p "$FOLDER/$1"
    chmod 700 "$FOLDER/$1"
    "$VENV_PYTHON" -c '
import shutil, sys
from pathlib import Path

from map_reduce.certs.command import NODE_DAYS
from map_reduce.certs.folders import issue_to, make_authority
from map_reduce.core.roles import Role

folder, name, *wanted = sys.argv[1:]
folder = Path(folder)
if not (folder / "authorities.pem").exists():
    make_authority(folder)

def issue(target, role, hosts):
    shutil.rmtree(folder / target, ignore_errors=True)
    issue_to(folder, target, role, hosts, NODE_DAYS)

if wanted[:1] == ["client"]:
    issue(wanted.pop(0), Role.CLIENT, [])
for number, address in zip(wanted[::2], wanted[1::2]):
    issue(f"node-{number}", Role.NODE, [address, f"map-reduce-{name}-{number}"])
' "$FOLDER/$1" "$@" || exit 1
}

# A node, whose certificate is there, created and started: create_node NAME NUMBER ADDRESS OPTIONS...
# -- JOIN... with options of docker create, and the HOST:PORT of others.
create_node() {
    local name=$1 number=$2 address=$3 options=(--init) joins=() container
    container=$(container_of "$name" "$number")
    shift 3
    while [ "$1" != -- ]; do
        options+=("$1")
        shift
    done
    shift
    while [ $# -gt 0 ]; do
        joins+=(--join "$1")
        shift
    done
    # shellcheck disable=SC2086  # several options
    "$DOCKER" create ${MR_RUN_OPTIONS:-} "${options[@]}" --name "$container" \
        --hostname "$container" --network "$NETWORK" --ip "$address" --label "$LABEL=$name" \
        --stop-timeout "$STOP_S_MAX" --env MR_HOST="$address" --env MR_PORT="$NODE_PORT" \
        "$IMAGE" node --found "${joins[@]}" >/dev/null
    give_certificates "$container" "$FOLDER/$name/node-$number"
    "$DOCKER" start "$container" >/dev/null
}

# Eight at a time, each in a shell of its own; ends where one fails: in_parallel COMMAND ARGUMENT...
in_parallel() {
    local command=$1 argument pid pids=()
    shift
    for argument in "$@"; do
        "$command" "$argument" &
        pids+=($!)
        if [ ${#pids[@]} -ge 8 ]; then
            wait "${pids[0]}" || exit 1
            pids=("${pids[@]:1}")
        fi
    done
    for pid in ${pids[@]+"${pids[@]}"}; do wait "$pid" || exit 1; done
}

# Addresses of the cluster's containers that run: addresses_of NAME
addresses_of() {
    containers_of "$1" --filter status=running | xargs "$DOCKER" inspect --format \
        "{{(index .NetworkSettings.Networks \"$NETWORK\").IPAddress}}:$NODE_PORT"
}

# Writes the cluster file once the ring is whole, or says what its nodes say: await_ring NAME COUNT
await_ring() {
    local name=$1 container addresses
    read -r -d '' -a addresses < <(addresses_of "$name") || true
    "$VENV/bin/map-reduce" use ${addresses[@]+"${addresses[@]}"} --certs "$FOLDER/$name/client" \
        --nodes "$2" --source "containers $name" && return
    for container in $(containers_of "$name"); do
        printf -- '--- %s\n' "$container" >&2
        "$DOCKER" logs --tail 5 "$container" >&2 || true
    done
    fail "the ring did not become whole; above are the last lines of its nodes"
}

# Stops what runs, each with time to hand over, and removes it: remove_containers NAME
remove_containers() {
    local found
    found=$(containers_of "$1" --filter status=running --filter status=paused)
    if [ -n "$found" ]; then
        printf '%s\n' "$found" | xargs "$DOCKER" unpause >/dev/null 2>&1 || true
        printf '%s\n' "$found" |
            xargs -P 32 -n 1 "$DOCKER" stop --time "$STOP_S_MAX" >/dev/null 2>&1 || true
    fi
    found=$(containers_of "$1")
    if [ -n "$found" ]; then
        printf '%s\n' "$found" | xargs "$DOCKER" rm --force --volumes >/dev/null 2>&1 || true
    fi
}

# Follows the logs of the cluster's containers until they end or this is interrupted; each line
# begins with the container's name, in a colour of its own on a terminal: follow NAME
follow() {
    local number=0 container colour reset pids=()
    while read -r container; do
        colour='' reset=''
        if [ -t 1 ]; then
            colour=$'\033'"[$((31 + number % 6))m" reset=$'\033[0m'
        fi
        number=$((number + 1))
        "$DOCKER" logs --follow --tail "${TAIL_LINES:-all}" "$container" 2>&1 |
            sed -u "s/^/$colour${container#map-reduce-}$reset | /" &
        pids+=($!)
    done < <(containers_of "$1")
    [ ${#pids[@]} -gt 0 ] || fail "there is no container of the cluster '$1'"
    wait "${pids[@]}"
}

# Runs a program in a container of its own beside the cluster: run_in_container NAME PROGRAM ARGS...
run_in_container() {
    local name=$1 program=$2 address status=0 options=(--init --rm)
    shift 2
    address=$("$DOCKER" inspect --format \
        "{{(index .NetworkSettings.Networks \"$NETWORK\").IPAddress}}" \
        "$(containers_of "$name" --filter status=running | head -n 1)" 2>/dev/null) ||
        fail "no container of the cluster '$name' runs; start it with scripts/batch_run $name 3"
    docker_quietly image inspect "$IMAGE" || fail "there is no image '$IMAGE'"
    if [ -t 0 ] && [ -t 1 ]; then options+=(--tty --interactive); fi
    container=map-reduce-$name-client-$$ # for the trap too, which runs after this function
    "$DOCKER" create "${options[@]}" --name "$container" --network "$NETWORK" \
        --label "$LABEL=$name-client" --volume "$PWD:$PWD:ro" --workdir "$PWD" \
        --env MAP_REDUCE_ADDRESS="$address:$NODE_PORT" --entrypoint "$program" \
        "$IMAGE" "$@" >/dev/null
    trap '"$DOCKER" rm --force "$container" >/dev/null 2>&1' EXIT
    give_certificates "$container" "$FOLDER/$name/client"
    "$DOCKER" start --attach "$container" || status=$?
    return $status
}
