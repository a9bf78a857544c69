#pragma once

#include "gateway/oidc/login_cookie.hpp"
#include "gateway/oidc/provider.hpp"
#include "gateway/oidc/sessions.hpp"
#include "gateway/trust.hpp"

#include <functional>
#include <memory>
#include <optional>
#include <string>

namespace troupe {

/// Who comes in because the identity provider vouches for him, by an access token or by a browser's session, where no
/// certificate says who it is. What the provider says is written down as an identity; the rights are those of its
/// groups. Whether there is a provider is looked up in the configuration each time. For the io loop's thread, but for
/// what is said to be for others.
class oidc_gate {
public:
  explicit oidc_gate(services& with) : with_{with} {}

  /// As caller_of, and by what the request brings. Nothing: somebody has to be asked first.
  std::optional<caller> caller_at_once(const http_request& request, const snapshot& records);
  /// The same, asked if need be.
  void find_caller(const http_request& request, std::function<void(caller)> next);
  /// Writes down what the provider says, if that is news, and lets him in.
  void enter(const oidc_login& login, const std::string& address, std::function<void(caller)> next);

  /// Null: none is configured.
  identity_provider* provider(const snapshot& records);
  oidc_sessions& sessions() { return sessions_; }
  const login_cookie& cookies() const { return cookies_; }

  /// He may do less than before: if he is known no more, his sessions have ended. Any thread.
  void forget(const std::string& user);
  /// Nothing is called any more when it returns. Any thread but the loop's.
  void close();

private:
  std::optional<caller> caller_by(const oidc_login& login, const snapshot& records, const std::string& address) const;
  std::optional<caller> caller_in(const std::string& session, const snapshot& records, const std::string& address);

  services& with_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
  std::shared_ptr<identity_provider> provider_;
  oidc_sessions sessions_;
  login_cookie cookies_;
};

/// The cookies' names; browsers take such only from the host itself, over TLS.
inline constexpr std::string_view session_cookie = "__Host-session", login_cookie_name = "__Host-login";

/// Of the request's cookies; empty: it has none of that name.
std::string_view cookie_of(const http_request& request, std::string_view name);

} // namespace troupe
