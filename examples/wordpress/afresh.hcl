# WordPress with MariaDB on this host: nginx and php-fpm in one image, WordPress itself as the artifact.

image "php" {
  debian   = "bookworm"
  packages = ["ca-certificates", "nginx", "php-curl", "php-fpm", "php-gd", "php-mbstring", "php-mysql", "php-xml"]

  user "wordpress" { uid = 2000 }

  # What Debian's WordPress reads for every site.
  file "/etc/wordpress/config-default.php" {
    content = <<-END
      <?php
      define('DB_NAME', 'wordpress');
      define('DB_USER', 'wordpress');
      define('DB_PASSWORD', trim(file_get_contents('/run/secrets/database')));
      define('DB_HOST', getenv('DATABASE'));
      define('DISALLOW_FILE_MODS', true);
    END
  }

  file "/etc/wordpress/nginx.conf" {
    content = <<-END
      pid /tmp/nginx.pid;
      error_log stderr;
      worker_processes 2;
      events { }
      http {
        include /etc/nginx/mime.types;
        access_log off;
        client_max_body_size 32m;
        client_body_temp_path /tmp/body;
        fastcgi_temp_path /tmp/fastcgi;
        proxy_temp_path /tmp/proxy;
        scgi_temp_path /tmp/scgi;
        uwsgi_temp_path /tmp/uwsgi;
        server {
          listen 8080;
          root /app;
          index index.php;
          port_in_redirect off;
          location /wp-content/ { root /var/lib/wordpress; }
          location / { try_files $uri $uri/ /index.php$is_args$args; }
          location ~ \.php$ {
            try_files $uri =404;
            include /etc/nginx/fastcgi_params;
            fastcgi_param SCRIPT_FILENAME $document_root$fastcgi_script_name;
            fastcgi_pass unix:/tmp/php.sock;
          }
        }
      }
    END
  }

  file "/etc/wordpress/php-fpm.conf" {
    content = <<-END
      [global]
      error_log = /proc/self/fd/2
      [wordpress]
      listen = /tmp/php.sock
      clear_env = no
      catch_workers_output = yes
      pm = static
      pm.max_children = 4
      php_admin_value[upload_max_filesize] = 32M
      php_admin_value[post_max_size] = 32M
    END
  }

  # nginx is the server's first process: it gets the signals, and when it ends the server ends. Without php-fpm the server is unhealthy.
  file "/usr/local/bin/web" {
    mode = "0755"
    content = <<-END
      #!/bin/sh
      set -eu
      php-fpm8.2 --nodaemonize --fpm-config /etc/wordpress/php-fpm.conf &
      while [ ! -S /tmp/php.sock ]; do sleep 0.1; done
      exec nginx -c /etc/wordpress/nginx.conf -g 'daemon off;'
    END
  }

  # WordPress changes its tables when an editor comes by after an upgrade; this is the same, before the release has a server.
  # A WordPress without its database ends with exit code 0.
  file "/usr/local/lib/upgrade-tables.php" {
    content = <<-END
      <?php
      $done = false;
      register_shutdown_function(function () { global $done; if (!$done) exit(1); });
      define('WP_INSTALLING', true);
      require '/app/wp-load.php';
      require ABSPATH . 'wp-admin/includes/upgrade.php';
      wp_upgrade();
      $done = true;
    END
  }

  # Where Debian's WordPress looks for what is not its own. Themes and plugins come with the artifact.
  script = <<-END
    set -eu
    mkdir -p /var/lib/wordpress/wp-content/uploads
    ln -s /app/wp-content/plugins /app/wp-content/themes /var/lib/wordpress/wp-content
  END
}

# The password alone, in a file that only you may read (mode 0600).
secret "database" { file = "database-password" }

service "site" {
  tier     = "web"
  image    = image.php
  artifact = "app"  # made by ./make-version.sh app bookworm
  run      = ["/usr/local/bin/web"]
  user     = "2000:2000"
  env      { DATABASE = "host.internal:3306" }
  secrets  = [secret.database]
  port     = 8080
  count    = 2

  # It may reach MariaDB on this host, and nothing else.
  network { egress = "none"  allow = ["host:3306"] }

  # What editors upload. Every server has it, and it outlives them.
  volume "uploads" { source = "/srv/wordpress-uploads"  at = "/var/lib/wordpress/wp-content/uploads" }

  check "configuration" {
    run    = ["sh", "-c", "nginx -t -c /etc/wordpress/nginx.conf && php-fpm8.2 --test --fpm-config /etc/wordpress/php-fpm.conf"]
    within = "1m"
  }

  # Once for each release, before its first server; where nothing is installed yet there is nothing to do.
  migrate {
    run    = ["php", "/usr/local/lib/upgrade-tables.php"]
    within = "10m"
  }

  health { path = "/"  every = "1s"  timeout = "5s"  healthy_for = "2s" }
  route  { listen = "127.0.0.1:8083" }

  # nginx answers what it has accepted when it gets QUIT.
  drain  { signal = "QUIT"  within = "30s" }
  limits { memory = "512MiB" }

  rollout {
    waves  = ["1", "100%"]
    soak   = "5s"
    within = "3m"
  }
}
