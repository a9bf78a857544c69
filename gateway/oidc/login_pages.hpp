#pragma once

#include "gateway/oidc/oidc_gate.hpp"

namespace troupe {

class authentication_log;

/// Where a browser logs in and out: /oidc/login, /oidc/callback (authorization code with PKCE) and /oidc/logout. They
/// are for persons and no part of the API. On the io loop's thread.
class login_pages {
public:
  login_pages(services& with, oidc_gate& gate, authentication_log& guests)
      : with_{with}, gate_{gate}, guests_{guests} {}

  /// True: it is one of them, and is answered, or will be.
  bool serve(const std::shared_ptr<const http_request>& request, const responder& answer);

private:
  struct visit { // copyable
    std::shared_ptr<const http_request> http;
    responder answer;
  };
  void begin(const visit& by);
  void come_back(const visit& by);
  void leave(const visit& by);
  void turn_away(const visit& by, const std::string& why);
  void let_in(const visit& by, const caller& who, const oidc_login& login);
  std::string doubt_of(const visit& by, const oidc_settings& settings, std::string_view value) const;
  std::string login_url(const visit& by, const std::string& endpoint, const oidc_settings& settings,
                        const std::string& value) const;

  services& with_;
  oidc_gate& gate_;
  authentication_log& guests_;
};

} // namespace troupe
