#!/bin/sh
# PID 1 of the test's NFS client: a stock Debian kernel and Debian's own programs around one loop.
#
# The host sends one request per line over a virtio serial port, `ID BASE64-OF-A-SHELL-SCRIPT`, and
# gets `begin ID`, the base64 of what the script printed (standard output and error), and
# `end ID EXIT-CODE`. Kernel command line: client.address=ADDRESS/BITS client.gateway=ADDRESS client.mtu=BYTES.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 HOME=/root
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mount -t tmpfs -o mode=0755 tmpfs /run
mount -t tmpfs tmpfs /tmp
ln -sf /proc/self/mounts /etc/mtab

state=ready
while read -r module; do
    insmod "$module" || state=broken
done < /modules.list

for word in $(cat /proc/cmdline); do
    case $word in
    client.address=*) address=${word#*=} ;;
    client.gateway=*) gateway=${word#*=} ;;
    client.mtu=*) mtu=${word#*=} ;;
    esac
done
for device in /sys/class/net/*; do
    device=${device##*/}
    [ "$device" = lo ] || nic=$device
done
ip link set lo up
ip address add "$address" dev "$nic"
ip link set "$nic" mtu "$mtu" up || state=broken
ip route add default via "$gateway" || state=broken

for port in /sys/class/virtio-ports/*; do
    [ "$(cat "$port/name")" = tidegate.client ] && channel=/dev/${port##*/}
done
exec 3<> "$channel"
echo "client: $state on $(uname -r), $nic $address"
printf '%s %s\n' "$state" "$(uname -r)" >&3
while :; do
    while read -r id script <&3; do
        printf 'begin %s\n' "$id" >&3
        printf '%s' "$script" | base64 -d > /run/request
        bash /run/request > /run/answer 2>&1 < /dev/null 3<&-
        code=$?
        base64 /run/answer >&3
        printf 'end %s %s\n' "$id" "$code" >&3
    done
    # Reads end at once while no host is connected.
    sleep 0.1
done
