@description('The app as an image on a dedicated or Premium plan.')
param name string
param planName string
param location string
param tags object
param identityId string
param clientId string
param sku string

@description('The image, or empty for the bare Functions image.')
param image string
param settings object

@description('The subnet to reach private endpoints by, or empty.')
param subnetId string

var premium = startsWith(sku, 'EP')
var shown = empty(image) ? 'mcr.microsoft.com/azure-functions/base:4' : image

resource plan 'Microsoft.Web/serverfarms@2025-03-01' = {
  name: planName
  location: location
  tags: tags
  kind: premium ? 'elastic' : 'linux'
  sku: {
    name: sku
  }
  properties: {
    reserved: true
  }
}

// Premium makes a file share for an app that has the settings for one, and only the account's key opens it. An app in an
// image needs no share, so the settings are left out.
resource app 'Microsoft.Web/sites@2025-03-01' = {
  name: name
  location: location
  tags: union(tags, { 'azd-service-name': 'score-image' })
  kind: 'functionapp,linux,container'
  identity: {
    type: 'UserAssigned'
    userAssignedIdentities: {
      '${identityId}': {}
    }
  }
  properties: {
    serverFarmId: plan.id
    httpsOnly: true
    virtualNetworkSubnetId: empty(subnetId) ? null : subnetId
    siteConfig: {
      linuxFxVersion: 'DOCKER|${shown}'
      acrUseManagedIdentityCreds: true
      acrUserManagedIdentityID: clientId
      alwaysOn: !premium
      // Answered by the handler without a key; the bare image answers 404 there until an image with the app is deployed.
      healthCheckPath: '/api/health/live'
      ftpsState: 'Disabled'
      minTlsVersion: '1.2'
    }
  }
}

// Without WEBSITES_ENABLE_APP_SERVICE_STORAGE=false a share is mounted over /home and hides the app.
resource appSettings 'Microsoft.Web/sites/config@2025-03-01' = {
  parent: app
  name: 'appsettings'
  properties: union(settings, {
    FUNCTIONS_EXTENSION_VERSION: '~4'
    FUNCTIONS_WORKER_RUNTIME: 'custom'
    WEBSITES_ENABLE_APP_SERVICE_STORAGE: 'false'
  })
}

resource publishing 'Microsoft.Web/sites/basicPublishingCredentialsPolicies@2025-03-01' = [
  for endpoint in ['ftp', 'scm']: {
    parent: app
    name: endpoint
    properties: {
      allow: false
    }
  }
]
