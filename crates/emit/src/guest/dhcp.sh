#!/run/afresh/busybox sh
# What udhcpc calls with an event and what the server said.
B=/run/afresh/busybox
case $1 in
deconfig) $B ip -4 addr flush dev "$interface" ;;
bound | renew)
    $B ip -4 addr replace "$ip/${mask:-24}" dev "$interface"
    [ -n "$mtu" ] && $B ip link set "$interface" mtu "$mtu"
    for via in $router; do
        # A mask of 32, as some clouds give it: the router is not on the network that the address names.
        $B ip route replace "$via" dev "$interface"
        $B ip route replace default via "$via" dev "$interface"
        break
    done
    if [ -n "$dns" ] && [ ! -L /etc/resolv.conf ]; then
        {
            [ -n "$search$domain" ] && echo "search ${search:-$domain}"
            for server in $dns; do echo "nameserver $server"; done
        } >/etc/resolv.conf
    fi
    echo "afresh: $interface has $ip" >/dev/console
    ;;
esac
