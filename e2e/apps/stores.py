"""Databases and brokers of Debian on this host, each over a directory of its own. They listen at every address, as servers reach the host at the
address of their network's gateway; who has no password gets nothing.
"""

import os
import shutil
import signal
import subprocess
from pathlib import Path

from world import free_port, until


def program(name, package, *folders):
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin", *map(str, folders)])
    found = shutil.which(name, path=path)
    if not found:
        raise RuntimeError(f"{name} is missing: apt-get install {package}")
    return found


def ended(child):
    if child.poll() is not None:
        raise RuntimeError(f"{child.args[0]} ended: exit {child.returncode}")


def lines(done):
    if done.returncode:
        raise RuntimeError(f"{done.args[0]}: exit {done.returncode}: {done.stderr}")
    return done.stdout.splitlines()


class Postgres:
    """A cluster with one database that belongs to a user of the same name."""

    def __init__(self, world, name):
        newest = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda folder: int(folder.parent.name))[-1:]
        self.name, self.port, self.password = name, free_port(), world.password()
        self.dir = world.dir / "postgres"
        self.dir.mkdir(mode=0o700)
        shutil.chown(self.dir, "postgres", "postgres")
        self.psql = program("psql", "postgresql", *newest)
        who = {"user": "postgres", "group": "postgres", "extra_groups": [], "cwd": self.dir}
        command = [program("initdb", "postgresql", *newest), "-D", self.dir / "data", "--auth-local=trust", "--auth-host=scram-sha-256", "--no-sync"]
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, **who)
        with open(self.dir / "data/pg_hba.conf", "a") as file:
            file.write("host all all all scram-sha-256\n")
        # SIGINT: end now and properly, without waiting for clients.
        self.child = world.start(
            program("postgres", "postgresql", *newest), "-D", self.dir / "data", "-p", str(self.port), "-c", "listen_addresses=*",
            "-c", f"unix_socket_directories={self.dir}", end=signal.SIGINT, **who,
        )
        until("PostgreSQL answers", lambda: ended(self.child) or self.command("SELECT 1", "postgres").returncode == 0)
        self.rows(f"CREATE ROLE {name} LOGIN PASSWORD '{self.password}'", "postgres")
        self.rows(f"CREATE DATABASE {name} OWNER {name}", "postgres")

    def command(self, sql, database=None):
        command = [self.psql, "-h", self.dir, "-p", str(self.port), "-U", "postgres", "-d", database or self.name, "-v", "ON_ERROR_STOP=1", "-qAtc", sql]
        return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)

    def rows(self, sql, database=None):
        return lines(self.command(sql, database))


class Redis:
    def __init__(self, world):
        self.port, self.password = free_port(), world.password()
        self.url = f"redis://:{self.password}@host.internal:{self.port}/0"
        self.cli = program("redis-cli", "redis-tools")
        config = world.dir / "redis.conf"
        config.touch(mode=0o600)
        config.write_text(f'bind * -::*\nport {self.port}\nrequirepass {self.password}\nsave ""\ndir {world.dir}\n')
        self.child = world.start(program("redis-server", "redis-server"), config)
        until("Redis answers", lambda: ended(self.child) or self.command("PING") == ["PONG"])

    def command(self, *words):
        command = [self.cli, "-p", str(self.port), *words]
        environment = {**os.environ, "REDISCLI_AUTH": self.password}
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, env=environment)
        return done.stdout.splitlines()

    def rows(self, name):
        return self.command("LRANGE", name, "0", "-1")


class MariaDB:
    """With one database that belongs to a user of the same name."""

    def __init__(self, world, name):
        self.name, self.port, self.password = name, free_port(), world.password()
        self.dir = world.dir / "mariadb"
        self.dir.mkdir(mode=0o700)
        first = self.dir / "first.sql"
        first.write_text(f"CREATE DATABASE {name};\nCREATE USER {name}@'%' IDENTIFIED BY '{self.password}';\nGRANT ALL ON {name}.* TO {name}@'%';\n")
        for path in (self.dir, first):
            os.chown(path, 65534, 65534)
        who = {"user": 65534, "group": 65534, "extra_groups": [], "cwd": self.dir}
        install = [program("mariadb-install-db", "mariadb-server-core"), "--no-defaults", f"--datadir={self.dir}/data", "--skip-test-db"]
        subprocess.run(install, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, **who)
        self.child = world.start(
            program("mariadbd", "mariadb-server-core"), "--no-defaults", f"--datadir={self.dir}/data", f"--port={self.port}", "--bind-address=*",
            f"--socket={self.dir}/socket", f"--pid-file={self.dir}/pid", f"--init-file={first}", "--skip-name-resolve", **who,
        )
        until("MariaDB answers", lambda: ended(self.child) or self.command("SELECT 1").returncode == 0)
        first.unlink()

    def command(self, sql):
        command = [program("mariadb", "mariadb-client-core"), "--no-defaults", "--host=127.0.0.1", f"--port={self.port}", f"--user={self.name}",
                   "--batch", "--skip-column-names", f"--execute={sql}", self.name]
        environment = {**os.environ, "MYSQL_PWD": self.password}
        return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, env=environment)

    def rows(self, sql):
        return lines(self.command(sql))
