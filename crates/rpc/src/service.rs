//! The macro that declares what a service may be asked.

/// Declares a service: its trait, its client and its routes.
///
/// ```
/// rpc::service! {
///     /// What others may ask of the counter.
///     pub trait Counter, CounterClient, counter_routes = "counter" {
///         /// One more than what is asked about.
///         #[read]
///         async fn next(u64) -> u64;
///     }
/// }
///
/// struct Here;
///
/// #[rpc::async_trait]
/// impl Counter for Here {
///     async fn next(&self, ask: u64) -> kernel::Result<u64> {
///         Ok(ask + 1)
///     }
/// }
///
/// let routes = counter_routes(std::sync::Arc::new(Here)); // POST /rpc/counter/next
/// # let _: axum::Router = routes;
/// ```
///
/// Every call may be repeated and may arrive late, so its ask carries the id
/// that makes the second time harmless. Below its description a call may be
/// marked: `#[read]` changes nothing, so that two may be under way at once and
/// the faster one answers; `#[once]` is never repeated unless it surely did not
/// arrive.
#[macro_export]
macro_rules! service {
    ($(#[$doc:meta])* pub trait $Trait:ident, $Client:ident, $routes:ident = $name:literal {
        $(
            $(#[doc = $call_doc:literal])*
            // The captures are always empty: they only tell which mark is there.
            $(#[read $($read:lifetime)?])?
            $(#[once $($once:lifetime)?])?
            async fn $call:ident($Ask:ty) -> $Answer:ty;
        )*
    }) => {
        $(#[$doc])*
        #[$crate::async_trait]
        pub trait $Trait: Send + Sync + 'static {
            $( $(#[doc = $call_doc])* async fn $call(&self, ask: $Ask) -> $crate::hidden::kernel::Result<$Answer>; )*
        }

        #[doc = concat!("Asks the service `", $name, "` where it runs in another process.")]
        #[derive(Clone)]
        pub struct $Client(pub $crate::Channel);

        #[$crate::async_trait]
        impl $Trait for $Client {
            $( async fn $call(&self, ask: $Ask) -> $crate::hidden::kernel::Result<$Answer> {
                let call = $crate::Call::new($name, stringify!($call));
                self.0.call(call $(.read($($read)?))? $(.once($($once)?))?, &ask).await
            } )*
        }

        #[doc = concat!("Answers other processes: `POST /rpc/", $name, "/…`.")]
        pub fn $routes(service: ::std::sync::Arc<dyn $Trait>) -> $crate::hidden::axum::Router {
            let routes = $crate::hidden::axum::Router::new();
            $( let routes = {
                let service = ::std::sync::Arc::clone(&service);
                let answer = move |request: $crate::hidden::axum::extract::Request| {
                    let service = ::std::sync::Arc::clone(&service);
                    $crate::hidden::answer(request, async move |ask: $Ask| service.$call(ask).await)
                };
                routes.route(
                    concat!("/rpc/", $name, "/", stringify!($call)),
                    $crate::hidden::axum::routing::post(answer),
                )
            }; )*
            routes
        }
    };
}
