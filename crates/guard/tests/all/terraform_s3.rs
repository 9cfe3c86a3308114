//! Buckets and objects of a Terraform plan: a bad change never passes as clean, whatever else the plan has.

use crate::estate;
use crate::terraform_plan::{ALL_USERS, Draft, allow, constant, of_new_bucket, open_policy, policy, refers, switches};
use guard::Verdict::{NotPublic, Public, Unknown};
use serde_json::{Value, json};

pub const BUCKET: &str = "aws_s3_bucket.b";

pub fn private_policy(bucket: &str) -> String {
    let mut statement = allow(&format!("arn:aws:s3:::{bucket}/*"));
    statement["Principal"] = json!({"AWS": format!("arn:aws:iam::{}:role/app", estate::OWNER)});
    policy(&[statement])
}

/// A bucket that is there, with its switches off.
pub fn bucket() -> Draft {
    Draft::default()
        .keep(BUCKET, json!({"bucket": "shop", "id": "shop"}))
        .keep("aws_s3_bucket_public_access_block.b", switches(false, Some("shop")))
}

pub fn with_policy(draft: Draft, name: &str, text: &str) -> Draft {
    draft.create(&format!("aws_s3_bucket_policy.{name}"), json!({"bucket": "shop", "policy": text}), json!({"id": true}))
}

#[test]
fn a_bucket_of_any_partition_is_judged_in_its_own() {
    let of = |arn: &str| policy(&[allow(arn)]);
    for partition in ["aws", "aws-us-gov", "aws-cn", "aws-iso-b"] {
        let text = of(&format!("arn:{partition}:s3:::shop/*"));
        assert_eq!(with_policy(bucket(), "p", &text).verdict(BUCKET), Public, "{partition}");
        // The name is known after the apply: by the policy.
        let unnamed = Draft::default()
            .create(BUCKET, json!({"bucket_prefix": "shop"}), json!({"bucket": true, "id": true, "arn": true}))
            .create("aws_s3_bucket_policy.p", json!({"policy": text}), json!({"bucket": true}))
            .create("aws_s3_bucket_public_access_block.k", switches(false, None), json!({"bucket": true}))
            .configure("aws_s3_bucket_policy.p", json!({"bucket": refers(&["aws_s3_bucket.b.id", "aws_s3_bucket.b"])}))
            .configure("aws_s3_bucket_public_access_block.k", json!({"bucket": refers(&["aws_s3_bucket.b.id", "aws_s3_bucket.b"])}));
        assert_eq!(unnamed.verdict(BUCKET), Public, "{partition}");
    }
    // S3 takes no policy about another bucket, so one of the two is not what it seems.
    let elsewhere = |arn: &str| with_policy(bucket(), "p", &of(arn)).verdict(BUCKET);
    assert_eq!(elsewhere("arn:aws:s3:::another/*"), Unknown);
    assert_eq!(elsewhere("arn:aws:s3:::shop-2/*"), Unknown);
    assert_eq!(elsewhere("*"), Public);
    assert_eq!(elsewhere("arn:*:s3:::sh*"), Public);
    // The statement that opens is the one that must name the bucket.
    let mixed =
        policy(&[serde_json::from_str::<Value>(&private_policy("shop")).unwrap()["Statement"][0].clone(), allow("arn:aws:s3:::another/*")]);
    assert_eq!(with_policy(bucket(), "p", &mixed).verdict(BUCKET), Unknown);
    let in_gov = |partition: &str| {
        let draft = Draft::default()
            .keep(BUCKET, json!({"bucket": "shop", "id": "shop", "arn": "arn:aws-us-gov:s3:::shop"}))
            .keep("aws_s3_bucket_public_access_block.b", switches(false, Some("shop")));
        with_policy(draft, "p", &of(&format!("arn:{partition}:s3:::shop/*"))).verdict(BUCKET)
    };
    assert_eq!((in_gov("aws-us-gov"), in_gov("aws")), (Public, Unknown));
    // China has another host for the groups.
    let grant = json!([{"permissions": ["READ"], "type": "Group", "uri": "http://acs.amazonaws.com.cn/groups/global/AllUsers"}]);
    let in_china = Draft::default()
        .keep(BUCKET, json!({"bucket": "shop", "id": "shop", "grant": grant}))
        .keep("aws_s3_bucket_public_access_block.b", switches(false, Some("shop")));
    assert_eq!(in_china.verdict(BUCKET), Public);
    // A policy of a bucket that is not in the plan.
    let stray = |arn: &str| {
        let after = json!({"bucket": "shop", "policy": of(arn)});
        Draft::default().create("aws_s3_bucket_policy.p", after, json!({})).verdict("aws_s3_bucket_policy.p")
    };
    assert_eq!((stray("arn:aws-cn:s3:::shop/*"), stray("arn:aws-cn:s3:::another/*")), (Public, Unknown));
}

#[test]
fn of_two_parts_of_one_kind_the_worse_counts() {
    for (first, second) in [("a", "b"), ("b", "a")] {
        let draft = with_policy(with_policy(bucket(), first, &private_policy("shop")), second, &open_policy("shop"));
        assert_eq!(draft.verdict(BUCKET), Public, "policies {first} {second}");
        let block = |name: &str| format!("aws_s3_bucket_public_access_block.{name}");
        let draft = Draft::default()
            .keep(BUCKET, json!({"bucket": "shop", "id": "shop"}))
            .create(&block(first), switches(true, Some("shop")), json!({}))
            .create(&block(second), switches(false, Some("shop")), json!({}));
        assert_eq!(with_policy(draft, "p", &open_policy("shop")).verdict(BUCKET), Public, "blocks {first} {second}");
        let owner = |name: &str| format!("aws_s3_bucket_ownership_controls.{name}");
        let draft = bucket()
            .create(&owner(first), json!({"bucket": "shop", "rule": [{"object_ownership": "BucketOwnerEnforced"}]}), json!({}))
            .create(&owner(second), json!({"bucket": "shop", "rule": [{"object_ownership": "ObjectWriter"}]}), json!({}))
            .create("aws_s3_bucket_acl.a", json!({"bucket": "shop", "acl": "public-read"}), json!({"access_control_policy": true}));
        assert_eq!(draft.verdict(BUCKET), Public, "ownerships {first} {second}");
    }
    let private = |draft: Draft| draft.create("aws_s3_bucket_acl.a", json!({"bucket": "shop", "acl": "private"}), json!({}));
    let inline = |acl: Value| {
        let draft = Draft::default()
            .change(BUCKET, &["update"], json!({"bucket": "shop"}), acl, json!({}))
            .keep("aws_s3_bucket_public_access_block.b", switches(false, Some("shop")))
            .configure(BUCKET, json!({"bucket": constant("shop"), "acl": constant("public-read"), "policy": constant("")}));
        private(draft).verdict(BUCKET)
    };
    assert_eq!(inline(json!({"bucket": "shop", "acl": "public-read"})), Public);
    assert_eq!(inline(json!({"bucket": "shop", "policy": open_policy("shop")})), Public);
    let grant = json!([{"id": "", "permissions": ["READ"], "type": "Group", "uri": ALL_USERS}]);
    assert_eq!(inline(json!({"bucket": "shop", "grant": grant})), Public);
}

#[test]
fn too_many_combinations_are_unknown() {
    let mut draft = bucket();
    for n in 0..40 {
        let with = |name: &str| format!("aws_s3_bucket_{name}.x{n}");
        let id = format!("reader{n}");
        let grantee = json!([{"type": "CanonicalUser", "id": id}]);
        let grants = json!([{"grant": [{"permission": "READ", "grantee": grantee}]}]);
        let reader = json!({"Effect": "Allow", "Principal": {"AWS": format!("arn:aws:iam::{}:role/{id}", estate::OWNER)},
            "Action": "s3:GetObject", "Resource": "arn:aws:s3:::shop/*"});
        draft = draft.create(&with("acl"), json!({"bucket": "shop", "access_control_policy": grants}), json!({})).create(
            &with("policy"),
            json!({"bucket": "shop", "policy": policy(&[reader])}),
            json!({}),
        );
    }
    assert_eq!(draft.verdict(BUCKET), Unknown);
    let one_kind = (0..300).fold(bucket(), |draft, n| with_policy(draft, &format!("p{n}"), &private_policy("shop")));
    assert_eq!(one_kind.verdict(BUCKET), Unknown);
}

#[test]
fn what_the_provider_echoes_is_not_what_the_plan_sets() {
    // The state of the bucket still has the old policy and ACL; the parts of this plan replace them.
    let old = json!({"bucket": "shop", "id": "shop", "policy": open_policy("shop"),
        "grant": [{"id": "", "permissions": ["READ"], "type": "Group", "uri": ALL_USERS}]});
    let draft = Draft::default()
        .keep(BUCKET, old)
        .configure(BUCKET, json!({"bucket": constant("shop")}))
        .keep("aws_s3_bucket_public_access_block.b", switches(false, Some("shop")));
    assert_eq!(draft.verdict(BUCKET), Public, "without a part it is what is there");
    let mended = with_policy(draft, "p", &private_policy("shop")).create(
        "aws_s3_bucket_acl.a",
        json!({"bucket": "shop", "acl": "private"}),
        json!({"access_control_policy": true, "id": true}),
    );
    assert_eq!(mended.verdict(BUCKET), NotPublic);
}

#[test]
fn a_new_bucket_as_the_provider_plans_it() {
    let links = json!({"bucket": refers(&["aws_s3_bucket.b.id", "aws_s3_bucket.b"])});
    let draft = |acl: &str| {
        Draft::default()
            .create(BUCKET, json!({"bucket": "shop", "force_destroy": false, "tags": null}), of_new_bucket())
            .configure(BUCKET, json!({"bucket": constant("shop")}))
            .create("aws_s3_bucket_public_access_block.k", switches(false, None), json!({"bucket": true, "id": true}))
            .configure("aws_s3_bucket_public_access_block.k", links.clone())
            .create(
                "aws_s3_bucket_ownership_controls.o",
                json!({"rule": [{"object_ownership": "BucketOwnerPreferred"}]}),
                json!({"bucket": true, "id": true, "rule": [{}]}),
            )
            .configure("aws_s3_bucket_ownership_controls.o", links.clone())
            .create(
                "aws_s3_bucket_acl.a",
                json!({"acl": acl, "expected_bucket_owner": null}),
                json!({"access_control_policy": true, "bucket": true, "id": true}),
            )
            .configure("aws_s3_bucket_acl.a", links.clone())
    };
    assert_eq!(draft("private").verdict(BUCKET), NotPublic);
    assert_eq!(draft("public-read").verdict(BUCKET), Public);
    assert_eq!(draft("a-new-one").verdict(BUCKET), Unknown);
    // Nothing is configured: S3's defaults hold, although the provider knows no value yet.
    let bare =
        Draft::default().create(BUCKET, json!({"bucket": "shop"}), of_new_bucket()).configure(BUCKET, json!({"bucket": constant("shop")}));
    assert_eq!(bare.verdict(BUCKET), NotPublic);
    // A policy that the bucket itself has, from a value that is known later.
    let later = Draft::default()
        .create(BUCKET, json!({"bucket": "shop"}), of_new_bucket())
        .configure(BUCKET, json!({"bucket": constant("shop"), "policy": refers(&["data.aws_iam_policy_document.p.json"])}))
        .create("aws_s3_bucket_public_access_block.k", switches(false, None), json!({"bucket": true}))
        .configure("aws_s3_bucket_public_access_block.k", links);
    assert_eq!(later.verdict(BUCKET), Unknown);
}

#[test]
fn a_reference_with_an_index_of_its_own_is_to_that_one() {
    let plan = |references: &[&str], key: &str| {
        let mut draft = Draft::default();
        for index in ["x", "y"] {
            draft = draft.create(&format!("aws_s3_bucket.b[\"{index}\"]"), json!({"bucket": index}), of_new_bucket()).create(
                &format!("aws_s3_bucket_policy.p[\"{index}\"]"),
                json!({"bucket": index, "policy": open_policy(index)}),
                json!({}),
            );
        }
        draft
            .configure("aws_s3_bucket.b", json!({"bucket": refers(&["each.key"])}))
            .create(&format!("aws_s3_bucket_public_access_block.lock[\"{key}\"]"), switches(true, None), json!({"bucket": true}))
            .create(&format!("aws_s3_bucket_public_access_block.open[\"{key}\"]"), switches(false, None), json!({"bucket": true}))
            .configure("aws_s3_bucket_public_access_block.lock", json!({"bucket": refers(references)}))
            .configure("aws_s3_bucket_public_access_block.open", json!({"bucket": refers(references)}))
    };
    let of = |draft: &Draft| (draft.verdict("aws_s3_bucket.b[\"x\"]"), draft.verdict("aws_s3_bucket.b[\"y\"]"));
    let to_y = plan(&["aws_s3_bucket.b[\"y\"].id", "aws_s3_bucket.b[\"y\"]", "aws_s3_bucket.b"], "x");
    assert_eq!(of(&to_y), (NotPublic, Public), "x keeps S3's defaults");
    assert_eq!(of(&plan(&["aws_s3_bucket.b", "each.key"], "x")), (Public, NotPublic), "by the same key");
    // `each.value`, a splat, a local: whose it is cannot be told, so it may be either's.
    for unclear in [&["aws_s3_bucket.b", "each.value"][..], &["aws_s3_bucket.b"], &["local.name"], &["module.m.name", "module.m"]] {
        assert_eq!(of(&plan(unclear, "x")), (Public, Public), "{unclear:?}");
    }
    // There is one only, so all of them are that one.
    let only = Draft::default()
        .create("aws_s3_bucket.b[0]", json!({"bucket": "x"}), of_new_bucket())
        .configure("aws_s3_bucket.b", json!({"bucket": constant("x")}))
        .create("aws_s3_bucket_policy.p[0]", json!({"policy": open_policy("x")}), json!({"bucket": true}))
        .configure("aws_s3_bucket_policy.p", json!({"bucket": refers(&["aws_s3_bucket.b"])}));
    assert_eq!(only.read().resources.len(), 1);
    assert_eq!(only.verdict("aws_s3_bucket.b[0]"), NotPublic);
    // After the reference to y comes another, by key.
    let both = plan(&["aws_s3_bucket.b[\"y\"].id", "aws_s3_bucket.b[\"y\"]", "aws_s3_bucket.b", "aws_s3_bucket.b", "each.key"], "x");
    assert_eq!(of(&both), (Public, Public));
    // Whose switches these are is known later: they may be those of a bucket that is there.
    let loose = |text: &str| {
        let draft = Draft::default()
            .keep(BUCKET, json!({"bucket": "shop", "id": "shop"}))
            .keep("aws_s3_bucket_public_access_block.b", switches(true, Some("shop")))
            .create("aws_s3_bucket_public_access_block.k", switches(false, None), json!({"bucket": true}));
        with_policy(draft, "p", text).verdict(BUCKET)
    };
    assert_eq!((loose(&open_policy("shop")), loose(&private_policy("shop"))), (Public, NotPublic));
    // By name: the switches with the index x are those of y.
    let existing = Draft::default()
        .keep("aws_s3_bucket.b[\"x\"]", json!({"bucket": "x", "id": "x"}))
        .keep("aws_s3_bucket.b[\"y\"]", json!({"bucket": "y", "id": "y"}))
        .create("aws_s3_bucket_policy.p", json!({"bucket": "x", "policy": open_policy("x")}), json!({}))
        .create("aws_s3_bucket_public_access_block.lock[\"x\"]", switches(true, Some("y")), json!({}));
    assert_eq!(of(&existing), (Public, NotPublic));
}

#[test]
fn an_object_is_judged_with_its_bucket() {
    let open = |draft: Draft| {
        draft.keep("aws_s3_bucket_ownership_controls.o", json!({"bucket": "shop", "rule": [{"object_ownership": "ObjectWriter"}]}))
    };
    let object = |kind: &str, after: Value, unknown: Value| {
        let mut all = json!({"bucket": "shop", "key": "k"});
        all.as_object_mut().unwrap().extend(after.as_object().unwrap().clone());
        let address = format!("{kind}.o");
        open(bucket())
            .create(&address, all, unknown)
            .configure(&address, json!({"bucket": constant("shop"), "key": constant("k")}))
            .verdict(&address)
    };
    let grant = json!([{"permissions": ["READ"], "type": "Group", "uri": ALL_USERS, "id": "", "email": ""}]);
    for kind in ["aws_s3_object", "aws_s3_bucket_object", "aws_s3_object_copy"] {
        assert_eq!(object(kind, json!({"acl": "public-read"}), json!({})), Public, "{kind}");
        assert_eq!(object(kind, json!({"acl": "private"}), json!({})), NotPublic, "{kind}");
        // The provider fills it in; S3 makes it private.
        assert_eq!(object(kind, json!({}), json!({"acl": true})), NotPublic, "{kind}");
    }
    assert_eq!(object("aws_s3_object_copy", json!({"acl": null, "grant": grant}), json!({})), Public);
    // Whoever writes it, the switches are those of the bucket's account.
    let locked = |draft: Draft| {
        draft
            .create("aws_s3_account_public_access_block.x", switches(true, None), json!({"account_id": true, "id": true}))
            .configure_with("aws_s3_account_public_access_block.x", "aws.other", json!({}))
            .create("aws_s3_object.o", json!({"bucket": "shop", "key": "k", "acl": "public-read"}), json!({}))
            .configure_with("aws_s3_object.o", "aws.other", json!({"bucket": constant("shop")}))
    };
    assert_eq!(locked(open(bucket()).configure(BUCKET, json!({}))).verdict("aws_s3_object.o"), Public);
    assert_eq!(locked(Draft::default()).verdict("aws_s3_object.o"), Public);
    // Two blocks of its bucket: the worse one counts for the object too.
    let draft = open(bucket()).create("aws_s3_bucket_public_access_block.a", switches(true, Some("shop")), json!({})).create(
        "aws_s3_object.o",
        json!({"bucket": "shop", "key": "k", "acl": "public-read"}),
        json!({}),
    );
    assert_eq!(draft.verdict("aws_s3_object.o"), Public);
}

#[test]
fn what_is_no_longer_managed_stays_as_it_was() {
    let forgotten = json!({"bucket": "shop", "policy": open_policy("shop")});
    let draft = bucket().change("aws_s3_bucket_policy.p", &["forget"], forgotten, Value::Null, json!({}));
    assert_eq!(draft.verdict(BUCKET), Public);
    let replaced = bucket().change(
        "aws_s3_bucket_policy.p",
        &["create", "forget"],
        json!({"bucket": "shop", "policy": private_policy("shop")}),
        json!({"bucket": "shop", "policy": open_policy("shop")}),
        json!({}),
    );
    assert_eq!(replaced.verdict(BUCKET), Public);
}

#[test]
fn what_is_put_off_protects_nothing_and_opens_what_it_may() {
    let open = with_policy(Draft::default().keep(BUCKET, json!({"bucket": "shop", "id": "shop"})), "p", &open_policy("shop"));
    let locked = open.defer("aws_s3_bucket_public_access_block.k", switches(true, Some("shop")), json!({}));
    assert_eq!(locked.verdict(BUCKET), Public);
    let later = bucket().defer("aws_s3_bucket_policy.p", json!({"policy": open_policy("shop")}), json!({"bucket": true}));
    assert_eq!(later.verdict("aws_s3_bucket_policy.p"), Unknown);
    let group = Draft::default().defer("aws_security_group.g", json!({"ingress": []}), json!({"id": true}));
    assert_eq!(group.verdict("aws_security_group.g"), Unknown);
}
