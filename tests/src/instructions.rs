//! What `cargo appliance` tells its user once the appliance serves.
use std::fmt;

use crate::{run_state::RunState, seed};

/// The text, as `Display`.
#[derive(Clone, Copy, Debug)]
pub struct Instructions<'a> {
    /// The run.
    pub state: &'a RunState,
    /// Port of 127.0.0.1 where the screen is served by VNC.
    pub vnc_port: Option<u16>,
}

impl fmt::Display for Instructions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let RunState { s3_port, nfs_port, .. } = self.state;
        let (share, bucket, prefix) = (seed::SHARE, seed::BUCKET, seed::PREFIX);
        let (key, secret, region) = (seed::ACCESS_KEY, seed::SECRET_KEY, seed::REGION);
        writeln!(
            f,
            "
Mount it on this machine (package nfs-common):
    sudo mkdir -p /mnt/{share}
    sudo mount -t nfs -o vers=3,nolock,hard,proto=tcp,port={nfs_port},mountproto=tcp,mountport={nfs_port} 127.0.0.1:/{share} /mnt/{share}
  (the ports are this machine's way into the virtual network; the console shows the command
   for clients on the appliance's own network: mount -t nfs -o vers=3,nolock,hard ADDRESS:/{share} /mnt/{share})
Unmount it before you stop the appliance:
    sudo umount /mnt/{share}

Look into the bucket, with aws-cli or any S3 client:
    AWS_ACCESS_KEY_ID={key} AWS_SECRET_ACCESS_KEY={secret} AWS_DEFAULT_REGION={region} \\
        aws --endpoint-url http://127.0.0.1:{s3_port} s3 ls --recursive s3://{bucket}/{prefix}

Console, in another terminal (Ctrl-] leaves):
    cargo appliance console"
        )?;
        if let Some(port) = self.vnc_port {
            writeln!(f, "Screen: any VNC viewer at 127.0.0.1:{port}")?;
        }
        write!(
            f,
            "
Stop it: Ctrl-C here shuts it down in order. The next `cargo appliance` goes on with what is there
({}); `cargo appliance --fresh` starts with blank disks and an empty bucket.",
            self.state.folder().display()
        )
    }
}
