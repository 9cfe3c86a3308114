#!/run/afresh/busybox sh
# Brings every network card up and asks for an address by DHCP, again as long as the machine lives. For images without a network
# manager of their own. IPv6 addresses come from the kernel by router advertisement.
B=/run/afresh/busybox
$B ip link set lo up
for card in /sys/class/net/*; do
    [ -e "$card/device" ] || continue
    name=${card##*/}
    $B ip link set "$name" up
    $B udhcpc -f -S -i "$name" -t 8 -T 1 -A 2 -s /run/afresh/dhcp.sh &
done
wait
