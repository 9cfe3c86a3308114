"""Builds exposures of every type, and adds their labels: exposures.py URL LABELS.json COUNT

Among them what the estate has not: a policy that AWS does not call public and half of all addresses pass, with which no switch helps; a block
of which part is on; websites; permissions and rules of which only a part is public. It is COUNT in all, those of LABELS included.
"""

import json
import os
import sys

from state import OWNER, clients

URL, LABELS, COUNT = sys.argv[1], sys.argv[2], int(sys.argv[3])
OTHER = "210987654321"
s3, control, ec2, rds = clients(URL)
labels = []
if os.path.exists(LABELS):
    with open(LABELS) as file:
        labels = json.load(file)


def bucket(name, **statement):
    s3.create_bucket(Bucket=name)
    if statement:
        policy = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": "*", "Resource": f"arn:aws:s3:::{name}/*", **statement}]}
        s3.put_bucket_policy(Bucket=name, Policy=json.dumps(policy, indent=1))
    return name


def half_of_all(n):
    odd = [f"{block}.0.0.0/8" for block in range(1, 256, 2)]
    return "s3_bucket", bucket(f"half-of-all-{n}", Action="s3:GetObject", Condition={"IpAddress": {"aws:SourceIp": odd}})


def site(n):
    name = bucket(f"site-{n}", Action="s3:GetObject")
    s3.put_bucket_website(Bucket=name, WebsiteConfiguration={"IndexDocument": {"Suffix": "index.html"}})
    return "s3_bucket", name


def part_on(n):
    name = bucket(f"part-on-{n}", Action="s3:GetObject")
    switches = {"BlockPublicAcls": True, "IgnorePublicAcls": True, "BlockPublicPolicy": True, "RestrictPublicBuckets": False}
    s3.put_public_access_block(Bucket=name, PublicAccessBlockConfiguration=switches)
    return "s3_bucket", name


def acl(n):
    s3.create_bucket(Bucket=f"acl-{n}")
    s3.put_bucket_acl(Bucket=f"acl-{n}", ACL="public-read")
    return "s3_bucket", f"acl-{n}"


def object_acl(n):
    name = bucket(f"objects-{n}")
    s3.put_object(Bucket=name, Key="dump of all/x.sql", Body=b"x")
    s3.put_object_acl(Bucket=name, Key="dump of all/x.sql", GrantRead='uri="http://acs.amazonaws.com/groups/global/AllUsers"')
    return "s3_object", f"{name}/dump of all/x.sql"


def access_point(n):
    name = bucket(f"point-{n}")
    delegated = {"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "s3:*", "Resource": [f"arn:aws:s3:::{name}", f"arn:aws:s3:::{name}/*"]}
    delegated["Condition"] = {"StringEquals": {"s3:DataAccessPointAccount": OWNER}}
    s3.put_bucket_policy(Bucket=name, Policy=json.dumps({"Version": "2012-10-17", "Statement": [delegated]}))
    switches = ["BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets"]
    control.create_access_point(AccountId=OWNER, Name=f"ap-{n}", Bucket=name, PublicAccessBlockConfiguration=dict.fromkeys(switches, False))
    arn = f"arn:aws:s3:us-east-1:{OWNER}:accesspoint/ap-{n}"
    open = {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": f"{arn}/object/*"}
    control.put_access_point_policy(AccountId=OWNER, Name=f"ap-{n}", Policy=json.dumps({"Version": "2012-10-17", "Statement": [open]}))
    return "s3_access_point", f"ap-{n}"


def image(n):
    made = ec2.create_image(InstanceId=server(), Name=f"image-{n}")["ImageId"]
    ec2.modify_image_attribute(ImageId=made, LaunchPermission={"Add": [{"Group": "all"}, {"UserId": OTHER}]})
    return "ami", made


def volume_snapshot(n):
    volume = ec2.create_volume(AvailabilityZone="us-east-1a", Size=1)["VolumeId"]
    made = ec2.create_snapshot(VolumeId=volume)["SnapshotId"]
    share = dict(SnapshotId=made, Attribute="createVolumePermission", OperationType="add")
    ec2.modify_snapshot_attribute(GroupNames=["all"], **share)
    ec2.modify_snapshot_attribute(UserIds=[OTHER], **share)
    return "ebs_snapshot", made


def group(n):
    made = ec2.create_security_group(GroupName=f"more-{n}", Description="x", VpcId=vpc())["GroupId"]
    world, office = {"CidrIp": "0.0.0.0/0", "Description": f"partners {n}"}, {"CidrIp": "203.0.113.0/24", "Description": "office"}
    rules = [
        {"IpProtocol": "tcp", "FromPort": 3306, "ToPort": 3306, "IpRanges": [world, office]},
        {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "Ipv6Ranges": [{"CidrIpv6": "::/0"}]},
        {"IpProtocol": "tcp", "FromPort": 443, "ToPort": 443, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]},
    ]
    ec2.authorize_security_group_ingress(GroupId=made, IpPermissions=rules)
    return "security_group", made


def database(n):
    return "rds_instance", instance(f"more-{n}", True)


def database_snapshot(n):
    made = f"more-{n}"
    rds.create_db_snapshot(DBSnapshotIdentifier=made, DBInstanceIdentifier=instance("source", False))
    rds.modify_db_snapshot_attribute(DBSnapshotIdentifier=made, AttributeName="restore", ValuesToAdd=[OTHER, "all"])
    return "rds_snapshot", made


def cluster_snapshot(n):
    once("cluster", lambda: rds.create_db_cluster(
        DBClusterIdentifier="more", Engine="aurora-postgresql", MasterUsername="admin1", MasterUserPassword="password-of-nobody"
    ))  # fmt: skip
    rds.create_db_cluster_snapshot(DBClusterSnapshotIdentifier=f"cmore-{n}", DBClusterIdentifier="more")
    rds.modify_db_cluster_snapshot_attribute(DBClusterSnapshotIdentifier=f"cmore-{n}", AttributeName="restore", ValuesToAdd=["all"])
    return "rds_cluster_snapshot", f"cmore-{n}"


made = {}


def once(name, make):
    if name not in made:
        made[name] = make()
    return made[name]


def vpc():
    return once("vpc", lambda: ec2.describe_vpcs()["Vpcs"][0]["VpcId"])


def server():
    source = lambda: ec2.describe_images()["Images"][0]["ImageId"]
    return once("server", lambda: ec2.run_instances(ImageId=source(), MinCount=1, MaxCount=1)["Instances"][0]["InstanceId"])


def world():
    def make():
        vpc = ec2.create_vpc(CidrBlock="10.2.0.0/16")["Vpc"]["VpcId"]
        gateway = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
        ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=vpc)
        table = ec2.create_route_table(VpcId=vpc)["RouteTable"]["RouteTableId"]
        ec2.create_route(RouteTableId=table, DestinationCidrBlock="0.0.0.0/0", GatewayId=gateway)
        subnets = []
        for number, zone in enumerate("ab"):
            made = ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.2.{number}.0/24", AvailabilityZone=f"us-east-1{zone}")["Subnet"]["SubnetId"]
            ec2.associate_route_table(RouteTableId=table, SubnetId=made)
            subnets.append(made)
        rds.create_db_subnet_group(DBSubnetGroupName="more", DBSubnetGroupDescription="more", SubnetIds=subnets)
        # No sensitive port for itself: the database's is none that a group is judged by.
        group = ec2.create_security_group(GroupName="databases", Description="x", VpcId=vpc)["GroupId"]
        open = {"IpProtocol": "tcp", "FromPort": 15432, "ToPort": 15432, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}
        ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[open])
        return group

    return once("world", make)


def instance(name, is_public):
    return once(f"instance {name}", lambda: rds.create_db_instance(
        DBInstanceIdentifier=name, DBInstanceClass="db.t3.micro", Engine="postgres", Port=15432, AllocatedStorage=20, MasterUsername="admin1",
        MasterUserPassword="password-of-nobody", PubliclyAccessible=is_public, VpcSecurityGroupIds=[world()], DBSubnetGroupName="more",
    ) and name)  # fmt: skip


KINDS = [half_of_all, site, part_on, acl, object_acl, access_point, image, volume_snapshot, group, database, database_snapshot, cluster_snapshot]
missing = COUNT - sum(label["public"] for label in labels)
for n in range(missing):
    kind, id = KINDS[n % len(KINDS)](n)
    labels.append({"type": kind, "id": id, "of": "exposure", "public": True, "cross_account": "none"})
with open(LABELS, "w") as file:
    json.dump(labels, file)
print(f"{sum(label['public'] for label in labels)} exposures")
