//! Sockets that listen, as the kernel's tables have them, and what is said of each.

use guard::root::{Protocol, exposed, listeners, sensitive};
use guard::{Tri, Verdict};

#[test]
fn sockets_of_the_kernels_table() {
    let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   \
        0: 00000000:18EB 00000000:0000 0A 00000000:00000000 00:00000000 00000000   101        0 1\n   \
        1: 0100007F:1538 00000000:0000 0A 00000000:00000000 00:00000000 00000000   101        0 2\n   \
        2: 0500000A:A2E4 08080808:01BB 01 00000000:00000000 00:00000000 00000000     0        0 3\n   \
        3: 00000000:01BB 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4\n";
    let found = listeners(Protocol::Tcp, table).unwrap();
    assert_eq!(
        found.iter().map(|l| format!("{}:{} {}", l.ip, l.port, l.inode)).collect::<Vec<_>>(),
        ["0.0.0.0:443 4", "0.0.0.0:6379 1", "127.0.0.1:5432 2"]
    );
    let wide: Vec<_> = found.iter().filter_map(|l| Some((l.port, sensitive(l)?))).collect();
    assert_eq!(wide, [(6379, "Redis")]);
    let redis = found.iter().find(|l| l.port == 6379).unwrap();
    for (reached, verdict) in [(Tri::Yes, Verdict::Public), (Tri::No, Verdict::NotPublic), (Tri::Unknown, Verdict::Unknown)] {
        let finding = exposed(redis, "Redis", Some("redis-server (pid 812)"), reached, "nft cannot be asked");
        assert_eq!((finding.verdict, finding.id.as_str(), finding.kind.as_str()), (verdict, "tcp/0.0.0.0:6379", "listener"));
        assert!(finding.why.contains("redis-server (pid 812)") && finding.fix.contains("6379"), "{finding:?}");
        assert_eq!(finding.why.contains("nft cannot be asked"), verdict == Verdict::Unknown);
    }
    let v6 = "  sl  local_address                         remote_address                        st\n   \
        0: 00000000000000000000000001000000:0016 00000000000000000000000000000000:0000 0A\n";
    let found = listeners(Protocol::Tcp, v6).unwrap();
    assert_eq!((found[0].ip, found[0].port, found.len()), ("::1".parse().unwrap(), 22, 1));
    assert_eq!(listeners(Protocol::Tcp, "nothing of the kind"), None);
    assert_eq!(listeners(Protocol::Tcp, &table[..table.len() - 100].replace(":18EB", ":XXXX")), None);
}
