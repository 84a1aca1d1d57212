use annals::server::{Server, ServerConfig};
fn main() {
    let rt = tokio::runtime::Runtime::new().unwrap();
    rt.block_on(async {
        let mut c = ServerConfig::local(std::path::Path::new("/tmp/smoke"));
        c.listen = "127.0.0.1:7099".parse().unwrap();
        let s = Server::bind(c).await.unwrap();
        s.run(|a| println!("ready {a}"), async {
            tokio::signal::ctrl_c().await.unwrap()
        })
        .await
        .unwrap();
    });
}
