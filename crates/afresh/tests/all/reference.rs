//! The whole command line as its users read it: one snapshot of every help text. A change of it is a change of the product.

#[test]
fn every_help_text() {
    let text = afresh::cli::reference();
    insta::assert_snapshot!(text);
}

#[test]
fn every_verb_ends_with_an_example() {
    let text = afresh::cli::reference();
    let sections: Vec<&str> = text.split("\n# ").collect();
    assert!(sections.len() > 30, "{} sections", sections.len());
    for section in sections {
        let name = section.lines().next().unwrap_or_default();
        assert!(section.contains("\nExample:\n  afresh") || section.contains("\nExample:\n  sudo afresh"), "{name} has no example");
    }
}

#[test]
fn clap_finds_nothing_wrong() {
    use clap::CommandFactory;
    afresh::cli::Cli::command().debug_assert();
}
