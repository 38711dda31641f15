#!/bin/sh
# Slurm's Epilog for GPU hosts: removes containers and networks that a levelbench job left behind, as it does when it
# is killed (a container is the daemon's child, and outlives the job). Removes nothing of an owner that may still live:
# it must be of another boot, or its process number must be free or taken by a later process. docs/fleet.md.
# Never fails: a host is drained when its Epilog does.
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:$PATH
command -v docker >/dev/null || exit 0

boot=$(cat /proc/sys/kernel/random/boot_id)
[ -n "$boot" ] || exit 0
namespace=$(readlink /proc/self/ns/pid)
labels='{{index .Config.Labels "levelbench.owner.boot-id"}} {{index .Config.Labels "levelbench.owner.pid-namespace"}}'
labels="$labels "'{{index .Config.Labels "levelbench.owner.pid"}} {{index .Config.Labels "levelbench.owner.start"}}'

# boot namespace pid start: whether that owner is dead for certain
is_dead() {
    case "$3$4" in '' | *[!0-9]*) return 1 ;; esac
    [ $# -eq 4 ] || return 1
    [ "$1" = "$boot" ] || return 0
    [ "$2" = "$namespace" ] || return 1
    kill -0 "$3" 2>/dev/null || [ -d "/proc/$3" ] || return 0
    now=$(sed 's/.*) //' "/proc/$3/stat" 2>/dev/null | cut -d ' ' -f 20)
    [ -n "$now" ] && [ "$now" != "$4" ]
}

for container in $(docker ps --all --quiet --filter label=levelbench=1); do
    # shellcheck disable=SC2046 # words are what is wanted
    if is_dead $(docker inspect --format "$labels" "$container" 2>/dev/null); then
        docker rm --force --volumes "$container" >/dev/null 2>&1 && echo "levelbench: removed container $container"
    fi
done
labels=$(printf %s "$labels" | sed 's/\.Config//g')
for network in $(docker network ls --quiet --filter label=levelbench=1); do
    # shellcheck disable=SC2046
    if is_dead $(docker network inspect --format "$labels" "$network" 2>/dev/null); then
        docker network rm "$network" >/dev/null 2>&1 && echo "levelbench: removed network $network"
    fi
done
exit 0
