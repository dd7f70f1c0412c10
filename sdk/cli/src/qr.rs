//! QR codes in the terminal.

use qrcode::QrCode;
use qrcode::render::unicode::Dense1x2;
use serde_json::json;

use crate::context::Context;
use crate::failure::Failure;
use crate::links;
use crate::output;

/// The code of a link's short address, or of any address.
pub(crate) async fn show(context: &Context, link: &str) -> Result<(), Failure> {
    let address = if link.starts_with("http://") || link.starts_with("https://") {
        link.to_owned()
    } else {
        let client = context.session().await?;
        links::find(&client, link).await?.short_url
    };
    let code = QrCode::new(&address)
        .map_err(|error| Failure::Usage(format!("the address does not fit: {error}")))?;
    // Most terminals are dark: the blocks are the light parts.
    let picture = code
        .render::<Dense1x2>()
        .dark_color(Dense1x2::Light)
        .light_color(Dense1x2::Dark)
        .build();
    if context.json {
        return output::json(&json!({ "url": address, "qr": picture }));
    }
    output::line(&picture)?;
    output::line(&output::clean(&address))
}
