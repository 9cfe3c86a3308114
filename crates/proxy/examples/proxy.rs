//! The two processes without the rest of Afresh, for tests and for looking at them: `proxy control|data|down DIR`.

use model::Layout;

#[tokio::main]
async fn main() -> Result<(), model::Fault> {
    let args: Vec<_> = std::env::args_os().skip(1).collect();
    let [verb, dir] = &args[..] else {
        return Err(model::Fault::yours("usage", "proxy control|data|down DIR"));
    };
    let layout = Layout::new(dir);
    match verb.to_str() {
        Some("control") => {
            let program = std::env::current_exe().map_err(|e| model::Fault::world("exe", e.to_string()))?;
            let data_args = vec!["data".into(), dir.clone()];
            proxy::control(proxy::Config { layout, data_program: program, data_args }).await
        }
        Some("data") => proxy::data(layout).await,
        Some("down") => proxy::down(&layout, 10_000).await,
        _ => Err(model::Fault::yours("usage", "proxy control|data|down DIR")),
    }
}
